from dataclasses import replace

import numpy as np
import pytest

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.data.streams import scenario
from fedbridge.data.streams.scenario import (
    ClientStream,
    Streams,
    Task,
    build_scenario,
    check_disjoint,
)
from fedbridge.data.streams.splits import split_items
from synthetic import dataset, emoji_like, fonts_like

NONE = np.array([], dtype=np.int64)


def settings(**changes):
    defaults = {"clients": 2, "tasks": 2, "classes_per_task": 2, "validation": 0.2}
    return Scenario(**(defaults | changes))


def by_class(data, items):
    return np.bincount(data.labels[items], minlength=len(data.classes))


def all_of(streams, part):
    return np.concatenate([getattr(t, part) for c in streams.clients for t in c.tasks])


def test_every_class_of_pure_groups_is_divided_by_the_fractions():
    data = emoji_like(per_class=20)
    wanted = settings(clients_are="domains", tasks=3, test=0.2, public=0.1, public_per_class=99)
    streams = build_scenario(data, wanted, seed=3)
    # 20 groups per class: 4 test, 2 public (in both domains), 14 left: 3 validation, 11 training
    assert by_class(data, streams.public).tolist() == [4] * 6
    for client in streams.clients:
        for task in client.tasks:
            for part, count in (("test", 4), ("validation", 3), ("train", 11)):
                found = by_class(data, getattr(task, part))
                assert [found[label] for label in task.classes] == [count] * 2
                assert found.sum() == 2 * count


def test_groups_of_mixed_classes_are_divided_within_their_domains():
    data = fonts_like(fonts=40)  # 10 of them blue
    wanted = settings(clients_are="domains", tasks=3, public_per_class=99)
    for seed in range(5):
        streams = build_scenario(data, wanted, seed)
        red, blue = streams.clients
        assert {len(np.unique(data.groups[task.test])) for task in red.tasks} == {6}
        assert {len(np.unique(data.groups[task.test])) for task in blue.tasks} == {2}
        assert np.bincount(data.domains[streams.public]).tolist() == [18, 6]  # 3 fonts and 1


def test_groups_without_any_order_are_divided_as_a_whole():
    labels = np.tile([0, 1, 2, 3], 20)
    groups = np.repeat(np.arange(20), 4)
    data = dataset(labels, np.tile([0, 1], 40), groups, classes=4)
    streams = build_scenario(data, settings(test=0.25), seed=0)
    assert len(np.unique(data.groups[all_of(streams, "test")])) == 5


def test_domains_hold_their_own_items_and_give_clients_their_names():
    data = emoji_like()
    streams = build_scenario(data, settings(clients_are="domains"), seed=0)
    assert [client.name for client in streams.clients] == ["red", "blue"]
    for domain, client in enumerate(streams.clients):
        for task in client.tasks:
            for items in (task.train, task.validation, task.test):
                assert set(data.domains[items]) == {domain}


def test_public_items_come_from_all_domains_even_those_no_client_holds():
    data = emoji_like()
    wanted = settings(clients=1, clients_are="domains", public=0.3, public_per_class=6)
    streams = build_scenario(data, wanted, seed=0)
    assert set(data.domains[streams.public]) == {0, 1}


def test_public_set_is_capped_per_class_and_leaves_out_classes_of_nobody():
    data = emoji_like(per_class=40)
    wanted = settings(clients=1, tasks=1, public_per_class=3)
    streams = build_scenario(data, wanted, seed=0)
    expected = [3 if label in streams.clients[0].tasks[0].classes else 0 for label in range(6)]
    assert by_class(data, streams.public).tolist() == expected


def test_shards_are_numbered_and_share_the_test_items_of_a_class():
    data = emoji_like(per_class=20)
    streams = build_scenario(data, settings(clients=3, tasks=3), seed=0)
    assert [client.name for client in streams.clients] == ["client-1", "client-2", "client-3"]
    tests = [
        sorted(np.concatenate([task.test for task in client.tasks])) for client in streams.clients
    ]
    assert tests[0] == tests[1] == tests[2]


def test_private_classes_belong_to_one_client_and_the_others_come_from_one_pool():
    data = emoji_like(per_class=20)
    streams = build_scenario(data, settings(private_classes=2), seed=1)
    held = [{label for t in client.tasks for label in t.classes} for client in streams.clients]
    shared = held[0] & held[1]
    assert [len(classes - shared) for classes in held] == [2, 2]
    assert len(shared) == 2  # six classes: two private to each of two clients, two for both


def test_private_classes_go_wholly_to_their_client():
    data = emoji_like(per_class=20)
    wanted = settings(private_classes=2)
    streams = build_scenario(data, wanted, seed=1)
    counts = [by_class(data, np.concatenate([t.train for t in c.tasks])) for c in streams.clients]
    private = (counts[0] == 0) != (counts[1] == 0)
    assert private.sum() == 4
    # 20 groups less 4 test, 2 public and 3 validation, in two domains
    assert (counts[0] + counts[1])[private].tolist() == [22] * 4


def test_order_own_differs_and_order_same_does_not():
    data = emoji_like(per_class=20)
    own = build_scenario(data, settings(tasks=3), seed=0)
    same = build_scenario(data, settings(tasks=3, order="same"), seed=0)
    assert len({tuple(t.classes for t in client.tasks) for client in own.clients}) == 2
    assert len({tuple(t.classes for t in client.tasks) for client in same.clients}) == 1


def test_small_alpha_skews_shares_but_leaves_half_an_even_share():
    data = emoji_like(per_class=100)
    even = build_scenario(data, settings(alpha=1e308), seed=0)
    skewed = build_scenario(data, settings(alpha=1e-3), seed=0)
    pool = 2 * (100 - 20 - 10 - 14)

    def shares(streams):
        tables = [[by_class(data, t.train) for t in c.tasks] for c in streams.clients]
        first, second = (np.sum(table, axis=0) for table in tables)
        both = (first > 0) & (second > 0)
        assert both.any()
        return first[both]

    assert set(shares(even)) == {pool // 2}
    assert set(shares(skewed)) <= {pool // 4, pool - pool // 4}


def test_training_cap_is_per_client_and_class_and_spares_validation():
    data = emoji_like(per_class=20)
    free = build_scenario(data, settings(), seed=0)
    capped = build_scenario(data, settings(train_per_class=2), seed=0)
    for one, other in zip(free.clients, capped.clients, strict=True):
        for task, small in zip(one.tasks, other.tasks, strict=True):
            assert by_class(data, small.train).max() == 2
            assert set(small.train) <= set(task.train)
            assert np.array_equal(task.validation, small.validation)


def test_rare_class_still_reaches_test_and_every_clients_validation():
    labels, groups = np.arange(400) % 4, np.arange(400)
    rare = np.flatnonzero((labels != 3) | (groups < 40))  # class D: ten items, one per group
    mixed = dataset(labels[rare], np.zeros(len(rare)), groups[rare] // 4, 4, ("all",))
    for seed in range(20):
        streams = build_scenario(mixed, settings(test=0.02, validation=0.01), seed)
        for client in streams.clients:
            for task in client.tasks:
                for items in (task.train, task.validation, task.test):
                    assert by_class(mixed, items)[list(task.classes)].min() >= 1


def refused(data, wanted, seed=0):
    with pytest.raises(UserError) as caught:
        build_scenario(data, wanted, seed)
    return str(caught.value)


def test_more_classes_than_exist_are_refused_with_the_sum():
    message = refused(emoji_like(), settings(clients=3, private_classes=2))
    assert "3 * 2 + (4 - 2) = 8 classes are needed" in message
    assert "'synthetic' has 6" in message


def test_more_clients_than_domains_are_refused():
    message = refused(emoji_like(), settings(clients=3, clients_are="domains"))
    assert message.startswith("scenario.clients: must be at most the number of domains, 2")
    assert "(red, blue)" in message
    assert message.endswith("found 3")


def test_more_private_classes_than_the_stream_has_are_refused():
    message = refused(emoji_like(), settings(private_classes=5))
    assert message == (
        "scenario.private_classes: must be at most tasks * classes_per_task = 4, found 5"
    )


def test_same_order_with_private_classes_is_refused():
    message = refused(emoji_like(), settings(order="same", private_classes=1))
    assert message.startswith('scenario.order: must be "own"')


def test_too_few_items_are_refused_with_class_client_and_counts():
    data = emoji_like(per_class=3)  # one group for test, public and validation each
    message = refused(data, settings(clients_are="domains"))
    assert "of client 'red' must have at least one training, one validation and one" in message
    assert "found 0, 1 and 1" in message


def test_class_without_items_is_refused():
    data = emoji_like()
    without = dataset(data.labels, data.domains, data.groups, classes=8)
    message = refused(without, settings(tasks=4))
    assert "class 'G'" in message or "class 'H'" in message
    assert "found 0, 0 and 0" in message


def test_empty_public_set_is_refused():
    # font 5 has the letter B only; where it is drawn for the public set, A has no public item
    labels, fonts = [0, 0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 4, 4, 5]
    data = dataset(labels, [0] * 7, fonts, classes=2, domain_names=("all",))
    wanted = settings(clients=1, tasks=1, classes_per_task=1)
    messages = set()
    for seed in range(50):
        try:
            build_scenario(data, wanted, seed)
        except UserError as error:
            messages.add(str(error).partition(",")[0])
    assert "scenario.public: the public set must not be empty" in messages


def hand_made(public, train=NONE, validation=NONE, test=NONE):
    parts = (np.asarray(part, np.int64) for part in (train, train, validation, test))
    task = Task((0,), *parts, met=(0,))
    return Streams(np.asarray(public, np.int64), (ClientStream("a", (task,)),))


@pytest.mark.parametrize(
    ("streams", "parts"),
    [
        (hand_made([1, 2], test=[2, 3]), "public and test"),
        (hand_made([1, 2], train=[0, 2]), "public and train"),
        (hand_made([1], train=[2], test=[2]), "test and train"),
        (hand_made([1], train=[2], validation=[2]), "validation and train"),
        (hand_made([1], test=[2], validation=[2]), "test and validation"),
    ],
)
def test_shared_items_are_refused(streams, parts):
    with pytest.raises(UserError, match=f"{parts} must have no items in common, found 1, such as"):
        check_disjoint(streams)


def test_streams_are_checked_before_they_are_returned(monkeypatch):
    def leak(*arguments):
        split = split_items(*arguments)
        return replace(split, public=np.sort(np.append(split.public, split.test)))

    monkeypatch.setattr(scenario, "split_items", leak)
    assert "public and test must have no groups in common" in refused(emoji_like(), settings())


def test_shared_groups_are_refused_even_without_shared_items():
    streams = hand_made([0], train=[1], validation=[2], test=[3])
    check_disjoint(streams)
    check_disjoint(streams, np.array([5, 6, 7, 8]))
    with pytest.raises(UserError, match="public and test must have no groups in common"):
        check_disjoint(streams, np.array([5, 6, 7, 5]))


def test_public_and_test_items_of_different_clients_are_compared():
    one = ClientStream("a", (Task((0,), NONE, NONE, NONE, NONE, (0,)),))
    other = ClientStream("b", (Task((0,), NONE, NONE, NONE, np.array([4]), (0,)),))
    with pytest.raises(UserError, match="public and test"):
        check_disjoint(Streams(np.array([4]), (one, other)))


def test_items_that_only_the_sums_are_taken_over_must_be_apart_too():
    leaking = Task((0,), np.array([4]), NONE, NONE, NONE, (0,))
    with pytest.raises(UserError, match="public and train must have no items in common"):
        check_disjoint(Streams(np.array([4]), (ClientStream("a", (leaking,)),)))


@pytest.mark.parametrize("history", ["task", "own", "pooled"])
def test_own_items_are_the_clients_new_ones_whatever_it_may_train_on(history):
    data = fonts_like()
    plain = build_scenario(data, settings(history="task"), seed=3)
    streams = build_scenario(data, settings(history=history), seed=3)
    for client, alone in zip(streams.clients, plain.clients, strict=True):
        for task, same in zip(client.tasks, alone.tasks, strict=True):
            np.testing.assert_array_equal(task.own, same.train)
            assert set(task.own) <= set(task.train)
