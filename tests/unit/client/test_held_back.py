"""``large.min_class_items``: sums of few items stay at home until there are more of their class."""

from collections import Counter
from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.client.private import Private
from fedbridge.data.streams.scenario import ClientStream, Task
from fedbridge.models.statistics import packed, unpacked
from fedbridge.wire import Step, Upload
from worlds import make_world, play, tiny_config

NONE = np.zeros(0, np.int64)


def private(tasks: list[list[int]]) -> Private:
    """Return a client whose items are numbered as they arrive, by the classes of each task."""
    labels = np.array([label for task in tasks for label in task], np.int64)
    ends = np.cumsum([0, *map(len, tasks)])
    rows = [np.arange(a, b) for a, b in pairwise(ends)]
    made = tuple(Task((0,), own, own, NONE, NONE, (0,)) for own in rows)
    nothing = np.zeros((0, 1), np.float32)
    return Private(ClientStream("a", made), lambda r: torch.zeros(0), lambda r: nothing, labels)


def test_a_class_waits_until_there_are_enough_of_it():
    client = private([[0, 0, 0, 1], [1, 2], [2, 2, 1]])
    assert client.released(0, 1, 2).tolist() == [0, 1, 2]  # the only item of class 1 waits
    assert client.released(1, 2, 2).tolist() == [3, 4]  # and goes with the second one
    # a class that was released before waits again: what is sent are sums of new items alone
    assert client.released(2, 3, 2).tolist() == [5, 6, 7]
    assert client.released(2, 3, 9).tolist() == []


def test_with_a_least_of_one_nothing_waits():
    client = private([[0, 1, 1], [], [2]])
    assert [client.released(n - 1, n, 1).tolist() for n in (1, 2, 3)] == [[0, 1, 2], [], [3]]


def test_what_was_not_acknowledged_goes_together():
    client = private([[0, 0, 0, 1], [1, 2], [2, 2, 1]])
    assert client.released(0, 3, 2).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert client.released(1, 3, 2).tolist() == [3, 4, 5, 6, 7]
    assert client.released(3, 3, 2).tolist() == []


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=5), st.integers(1, 4))
def test_no_sum_is_of_fewer_and_no_item_is_summed_twice(tasks: list[list[int]], least: int):
    client = private(tasks)
    sent = [client.released(n - 1, n, least) for n in range(1, len(tasks) + 1)]
    for rows in sent:
        assert all(n >= least for n in Counter(client.labels[rows].tolist()).values())
    every = np.concatenate(sent).tolist()
    assert len(set(every)) == len(every)
    waiting = np.setdiff1d(np.arange(len(client.labels)), every)
    assert all(n < least for n in Counter(client.labels[waiting].tolist()).values())


def first_upload(least: int, **changes: object) -> Upload:
    world = make_world(tiny_config(large={"min_class_items": least}, **changes))
    return play(world, [Step(1, 1)]).transport.uploads[0]


def test_what_is_uploaded_are_the_sums_of_classes_with_enough_items():
    whole, part = first_upload(1), first_upload(13)
    assert (
        whole.counts.tolist() == [19, 0, 12, 0, 0, 0, 0, 0]
        and whole.num_examples == part.num_examples == 31
    )
    assert part.counts.tolist() == [19, 0, 0, 0, 0, 0, 0, 0]
    assert torch.equal(part.cross[:, 0], whole.cross[:, 0])
    assert not part.cross[:, 1:].any()
    # the sums of two classes are the sums of one and of the other
    other = unpacked({k: getattr(whole, k) - getattr(part, k) for k in ("gram", "cross", "counts")})
    assert np.linalg.eigvalsh(other.gram).min() > -1e-3
    assert np.linalg.matrix_rank(other.gram, tol=1e-2) <= 12
    assert {k: v.shape for k, v in vars(part).items() if isinstance(v, torch.Tensor)} == {
        k: v.shape for k, v in vars(whole).items() if isinstance(v, torch.Tensor)
    }


def test_the_clients_own_head_knows_all_of_its_items():
    world = make_world(tiny_config(large={"min_class_items": 13}))
    client = play(world, [Step(1, 1)]).clients["client-1"]
    assert packed(client.head.own)["counts"].tolist() == [19, 0, 12, 0, 0, 0, 0, 0]  # type: ignore[attr-defined]


def test_prototypes_of_few_items_are_held_back_too():
    whole, part = (
        first_upload(n, fusion={"name": "fedproto"}).extra["prototypes"] for n in (1, 13)
    )
    assert whole[:, -1].tolist() == [19, 0, 12, 0, 0, 0, 0, 0]
    assert torch.equal(part[0], whole[0]) and not part[1:].any()


def test_a_federation_that_holds_sums_back_runs_to_its_end():
    played = play(make_world(tiny_config(large={"min_class_items": 13})))
    assert played.server.refused == []
    sums = [u for u in played.transport.uploads if len(u.counts)]
    counts = torch.cat([u.counts for u in sums])
    assert not set(counts.tolist()) & set(range(1, 13))
    assert 0 < counts.sum() < sum(u.num_examples for u in sums)
