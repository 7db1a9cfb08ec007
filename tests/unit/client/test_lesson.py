import dataclasses

import pytest
import torch
from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.methods.context import ItemBatch, TrainContext
from worlds import bare_context, linear_model, tiny_config


def share(n: int, previous: bool = True, start: int = 0) -> ItemBatch:
    """Return items that all hold their own number."""
    numbers = torch.arange(start, start + n)
    table = numbers[:, None].float()
    earlier = table if previous else None
    return ItemBatch(table.to(torch.uint8), numbers, earlier, table.repeat(1, 3), numbers)


def context(n: int, epochs: int = 1, batch: int = 4, seed: int = 0) -> TrainContext:
    config = tiny_config(training={"epochs": epochs, "batch": batch, "lr": 0.25})
    shared = bare_context(config, 3, torch.zeros(1, 1), torch.zeros(1, 1))
    nothing, ids = share(0), torch.arange(3)
    return TrainContext(
        model=linear_model([[1.0]] * 3),
        shared=shared,
        task=share(n),
        memory=nothing,
        public=nothing,
        seen=ids,
        new=ids,
        old=ids[:0],
        taught=ids,
        generator=torch.Generator().manual_seed(seed),
    )


def numbers(found: ItemBatch) -> list[int]:
    assert found.inputs[:, 0].tolist() == found.labels.tolist()
    assert found.teacher_logits[:, 0].tolist() == found.labels.tolist()
    return found.labels.tolist()


def test_some_rows_of_a_share_keep_all_that_is_known_of_them():
    found = share(5)[torch.tensor([3, 1])]
    assert numbers(found) == [3, 1]
    assert found.old_embeddings is not None and found.old_embeddings[:, 0].tolist() == [3, 1]
    assert share(5, previous=False)[torch.tensor([3, 1])].old_embeddings is None


def test_shares_are_joined_in_order():
    both = share(2) + share(3, start=7)
    assert len(both) == 5
    assert numbers(both) == [0, 1, 7, 8, 9]
    assert both.old_embeddings is not None and both.old_embeddings[:, 0].tolist() == [0, 1, 7, 8, 9]


@pytest.mark.parametrize("first", [True, False])
def test_an_earlier_self_that_did_not_see_all_items_is_left_out(first: bool):
    assert (share(2, previous=first) + share(2, previous=not first)).old_embeddings is None


def test_every_epoch_takes_each_item_once_and_in_another_order():
    batches = [numbers(batch) for batch in context(12, epochs=2).batches()]

    assert [len(batch) for batch in batches] == [4] * 6
    first, second = ([n for batch in half for n in batch] for half in (batches[:3], batches[3:]))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second and first != sorted(first)


@pytest.mark.parametrize(
    ("n", "sizes"), [(12, [4, 4, 4]), (10, [4, 4, 2]), (9, [4, 4]), (5, [4]), (3, [3])]
)
def test_a_last_batch_of_one_is_dropped(n: int, sizes: list[int]):
    assert [len(batch) for batch in context(n).batches()] == sizes


def test_a_single_item_is_not_dropped():
    assert {number for batch in context(1).batches() for number in numbers(batch)} == {0}


def test_batches_of_one_are_refused_since_all_of_them_would_be_dropped():
    with pytest.raises(UserError, match=r"training\.batch"):
        tiny_config(training={"batch": 1})


def test_batches_and_draws_are_a_function_of_the_generator():
    def taken(seed: int) -> list[list[int]]:
        one = context(9, seed=seed)
        return [*map(numbers, one.batches()), numbers(one.draw(one.task, 6))]

    torch.manual_seed(0)
    first = taken(1)
    torch.manual_seed(1)
    assert first == taken(1) != taken(2)


def test_draws_may_ask_for_more_than_there_is():
    found = numbers(context(3).draw(share(3), 50))
    assert len(found) == 50
    assert set(found) == {0, 1, 2}


def test_columns_are_places_among_the_classes():
    found = context(1).label_indices(torch.tensor([8, 2, 8, 5]), torch.tensor([2, 5, 8]))
    assert found.tolist() == [2, 0, 2, 1]


def test_the_softmax_runs_over_classes_seen_or_over_those_of_the_task_and_its_items():
    made = dataclasses.replace(
        context(3), task=share(2, start=4), seen=torch.arange(9), new=torch.tensor([3, 7])
    )
    assert made.classes("seen").tolist() == list(range(9))
    assert made.classes("task").tolist() == [3, 4, 5, 7]


def test_items_may_count_unequally():
    made, labels = context(1), torch.tensor([0, 2])
    embedding = torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.6, 0.8]])
    each = [
        made.classification_loss(embedding[k : k + 1], labels[k : k + 1], made.seen) for k in (0, 1)
    ]
    weights = torch.tensor([0.5, 3.0])
    found = made.classification_loss(embedding, labels, made.seen, weights)
    torch.testing.assert_close(found, (0.5 * each[0] + 3.0 * each[1]) / 2)
    equal = made.classification_loss(embedding, labels, made.seen, torch.ones(2))
    torch.testing.assert_close(equal, made.classification_loss(embedding, labels, made.seen))


def test_the_first_step_of_the_optimiser_is_one_rate_long_and_every_one_is_fresh():
    one = context(1)
    weight: Tensor = one.model.projector.weight
    for _ in range(2):
        before = weight.detach().clone()
        optimiser = one.optimiser()
        weight.grad = torch.tensor([[3.0], [-0.5], [7.0]])
        optimiser.step()
        decayed = before * (1 - 0.25 * one.training.weight_decay)
        moved = weight.detach() - decayed
        torch.testing.assert_close(moved, torch.tensor([[-0.25], [0.25], [-0.25]]))


def test_a_lesson_is_not_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        context(1).seen = torch.arange(2)  # type: ignore[misc]
