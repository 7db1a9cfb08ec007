"""Tail anchors that a client trains beside the FM's features, and what of them leaves it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fedbridge.methods.fedta import Anchoring, TailAnchored, classified, contrast, mix
from fedbridge.wire import Step
from worlds import Played, accuracy, bare_context, make_world, play, same_state, tiny_config

LARGE = {"head": "tail-anchors", "anchors": 12, "contrast": 2.0, "attract": 0.5}
FEATURES = torch.tensor([[3.0, 4.0], [5.0, 0.0], [0.0, -1.0]])
KEYS = torch.tensor([[2.0, 0.0], [0.0, 0.5]])
ANCHORS = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def head_of(classes: int = 3, **large: Any) -> TailAnchored:
    config = tiny_config(large={**LARGE, **large}, learner={"name": "finetune"})
    shared = bare_context(config, classes, torch.zeros(1, 1, 16, 16), torch.eye(2))
    return TailAnchored(shared, config.large)


def test_an_item_gets_the_anchor_of_the_nearest_key():
    mixed, strain = mix(FEATURES, KEYS, ANCHORS)
    expected = [[3.0, 4.0, 3.0, 4.0], [5.0, 0.0, 1.0, 2.0], [0.0, -1.0, 1.0, 2.0]]
    assert mixed.tolist() == expected
    torch.testing.assert_close(strain, torch.tensor([0.2, 0.0, 1.0]))


def test_the_contrast_by_hand():
    prototypes = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.5, 0.0]])  # of classes 0 and 1, none of 2
    labels = torch.tensor([1, 2])
    # cosines 0.6 and 0.8 of the first item; the second has no prototype
    expected = math.log(1 + math.exp((0.6 - 0.8) / 0.2))
    found = contrast(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), labels, prototypes)
    torch.testing.assert_close(found, torch.tensor(expected))
    assert contrast(FEATURES, torch.tensor([2, 2, 2]), prototypes).item() == 0.0
    assert contrast(FEATURES, torch.tensor([0, 1, 2]), torch.zeros(2, 3)).item() == 0.0


def test_the_classifier_by_hand_and_half_of_its_units_failing():
    classifier = {
        "hidden.weight": torch.tensor([[1.0], [-1.0]]),
        "hidden.bias": torch.zeros(2),
        "out.weight": torch.tensor([[2.0, 3.0]]),
        "out.bias": torch.ones(1),
    }
    x = torch.tensor([[4.0], [-5.0]])
    assert classified(x, classifier).tolist() == [[9.0], [16.0]]
    many = torch.full((4000, 1), 4.0)
    found = classified(many, classifier, torch.Generator().manual_seed(0))
    assert set(found.flatten().tolist()) == {1.0, 17.0}
    assert found.mean().item() == pytest.approx(9.0, abs=0.5)


def test_the_loss_is_the_sum_of_its_three_terms():
    head, labels = head_of(), torch.tensor([0, 1, 1])
    head.parts["prototypes"] = torch.eye(4)[:, :3]

    def study() -> Anchoring:
        return Anchoring(head, torch.tensor([0, 1]), Step(1, 1))

    mixed, strain = mix(FEATURES, head.parts["keys"], head.parts["anchors"])
    logits = classified(mixed, head.newest(), study().generator)[:, :2]
    expected = torch.nn.functional.cross_entropy(logits, labels)
    expected = expected + 2.0 * contrast(mixed, labels, head.parts["prototypes"])
    expected = expected + 0.5 * strain.mean()
    torch.testing.assert_close(study().loss(FEATURES, labels, {}), expected)


@pytest.mark.parametrize(("least", "there"), [(1, [1, 1, 0]), (2, [0, 1, 0])])
def test_prototypes_are_means_of_mixed_features_of_enough_items(least: int, there: list[int]):
    head, labels = head_of(min_class_items=least), torch.tensor([0, 1, 1])
    head.parts["keys"], head.parts["anchors"] = KEYS, ANCHORS
    study = Anchoring(head, torch.tensor([0, 1]), Step(1, 1))
    found = study.trained(lambda: FEATURES, labels)
    assert set(found) == {"prototypes"}
    means = [[3.0, 4.0, 3.0, 4.0], [2.5, -0.5, 1.0, 2.0], [0.0] * 4]
    expected = torch.tensor(means) * torch.tensor(there)[:, None]
    torch.testing.assert_close(found["prototypes"], expected.T)


def test_a_class_is_scored_by_the_classifier_of_the_last_task_that_had_it():
    head = head_of()
    for task, classes in ((1, [0, 1]), (2, [1])):
        study = Anchoring(head, torch.tensor(classes), Step(task, 1))
        with torch.no_grad():
            study.classifier["out.bias"] += 10.0 * task
        study.trained(lambda: FEATURES, torch.tensor([classes[0]] * 3))
    assert head.known.tolist() == [0, 1]
    scores = 8.0 * head.scores(FEATURES)  # the large side's sharpness
    mixed, _ = mix(FEATURES, head.parts["keys"], head.parts["anchors"])
    for c, task in ((0, 1), (1, 2)):
        own = classified(mixed, head.classifiers[task])[:, c]
        torch.testing.assert_close(scores[:, c], own)
    assert not scores[:, 2].any()
    again = head_of()
    again.load({k: v.clone() for k, v in head.state().items()})
    assert torch.equal(again.scores(FEATURES), head.scores(FEATURES))
    assert same_state(again.state(), head.state())


def played(**changes: Any) -> Played:
    large = {**LARGE, "probe_epochs": 30, "probe_lr": 0.005}
    names = {"learner": {"name": "finetune"}, "fusion": {"name": "none"}}
    chosen = {"large": large, "scenario": {"order": "same"}, **names, **changes}
    return play(make_world(tiny_config(**chosen)))


def test_tasks_are_learnt_and_not_forgotten_where_they_are_given():
    found = played()
    client = found.clients["client-1"]
    said = client.evaluate(found.broadcasts(2, 2)["client-1"])
    assert accuracy(said, "large", "task-aware", [1, 2]) > 0.95


def test_keys_anchors_and_classifiers_stay_at_the_client():
    found = played()
    sizes = {tuple(upload.adapter) for upload in found.transport.uploads}
    assert sizes == {("prototypes",)}
    for upload in found.transport.uploads:
        task = found.world.streams.clients[int(upload.client[-1]) - 1].tasks[upload.task - 1]
        own: Tensor = upload.adapter["prototypes"].abs().sum(0)
        assert set(own.nonzero()[:, 0].tolist()) <= set(task.classes)
    one, other = (c.head.state() for c in found.clients.values())
    assert not torch.equal(one["anchors"], other["anchors"])
    assert torch.equal(one["prototypes"], other["prototypes"])


def test_the_same_seed_gives_the_same_numbers():
    one, again = (play_state(played()) for _ in range(2))
    assert same_state(one, again)


def play_state(found: Played) -> dict[str, Tensor]:
    return found.clients["client-2"].head.state()
