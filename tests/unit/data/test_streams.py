"""Domain-incremental tasks, blurred borders, repeated tasks, official divisions."""

import numpy as np
import pytest

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.core.rng import rng_for
from fedbridge.data.streams.dealing import blur_borders, by_task, lay_out
from fedbridge.data.streams.plans import plan_clients
from fedbridge.data.streams.scenario import build_scenario
from synthetic import dataset, emoji_like, fonts_like, single

COLOURS = ("red", "green", "blue")


def settings(**changes):
    defaults = {"clients": 2, "tasks": 2, "classes_per_task": 2, "validation": 0.2}
    return Scenario(**(defaults | changes))


def by_domains(**changes):
    return settings(**({"kind": "domain-incremental", "tasks": 3, "classes_per_task": 4} | changes))


def refused(data, wanted, seed=0):
    with pytest.raises(UserError) as caught:
        build_scenario(data, wanted, seed)
    return str(caught.value)


def held(client, part="own"):
    return np.concatenate([getattr(task, part) for task in client.tasks])


# -- domain-incremental


def test_every_task_has_all_classes_in_a_domain_of_its_own():
    data = single(60, domain_names=COLOURS)
    streams = build_scenario(data, by_domains(), seed=1)
    for client in streams.clients:
        assert len({frozenset(task.classes) for task in client.tasks}) == 1
        domains = []
        for task in client.tasks:
            assert len(set(task.classes)) == 4
            for items in (task.own, task.train, task.validation, task.test):
                assert set(data.labels[items]) == set(task.classes) == set(task.met)
                assert len(set(data.domains[items])) == 1
            domains.append(data.domains[task.own[0]])
        assert sorted(domains) == [0, 1, 2]
        assert client.seen(1) == client.seen(3) == sorted(client.tasks[0].classes)


def test_same_order_of_domains_is_the_declared_one_and_own_orders_differ():
    data = single(60, domain_names=COLOURS)

    def domains(order, seed):
        streams = build_scenario(data, by_domains(order=order), seed)
        return [[int(data.domains[t.own[0]]) for t in c.tasks] for c in streams.clients]

    assert all(domains("same", seed) == [[0, 1, 2]] * 2 for seed in range(3))
    orders = [domains("own", seed) for seed in range(6)]
    assert len({tuple(order) for clients in orders for order in clients}) > 2
    assert any(one != other for one, other in orders)


def test_items_of_a_class_in_a_domain_are_divided_between_its_clients():
    data = single(90, classes=4, domain_names=COLOURS)
    streams = build_scenario(data, by_domains(alpha=1e6), seed=0)
    one, other = (held(client) for client in streams.clients)
    assert not set(one) & set(other)
    cells = np.bincount(data.labels[one] * 3 + data.domains[one], minlength=12)
    # 30 items in each cell less 6 test, 3 public and 4 validation leave 17
    assert set(cells) <= {8, 9}


def test_groups_of_all_classes_make_tasks_of_domains_too():
    data = fonts_like(fonts=40)
    streams = build_scenario(data, by_domains(tasks=2), seed=0)
    for client in streams.clients:
        assert {frozenset(data.domains[task.own]) for task in client.tasks} == {
            frozenset({0}),
            frozenset({1}),
        }


def test_pooled_data_are_of_the_domains_met_only():
    data = single(60, domain_names=COLOURS)
    streams = build_scenario(data, by_domains(history="pooled"), seed=0)
    for client in streams.clients:
        met: set[int] = set()
        for task in client.tasks:
            met |= set(data.domains[task.own])
            assert set(data.domains[task.train]) == met
            assert set(task.own) < set(task.train)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (
            by_domains(tasks=4),
            "scenario.tasks: must be at most the number of domains, 3 (red, green, blue), with "
            'kind = "domain-incremental", found 4',
        ),
        (
            by_domains(clients_are="domains"),
            'scenario.clients_are: must be "shards" with kind = "domain-incremental", where tasks '
            'are domains, found "domains"',
        ),
        (
            by_domains(classes_per_task=7),
            "scenario: clients * private_classes + (classes_per_task - private_classes) = "
            "2 * 0 + (7 - 0) = 7 classes are needed, data set 'synthetic' has 6",
        ),
        (
            by_domains(private_classes=5),
            "scenario.private_classes: must be at most classes_per_task = 4, found 5",
        ),
    ],
)
def test_domains_and_classes_must_be_there(wanted, expected):
    assert refused(single(60, domain_names=COLOURS), wanted) == expected


def test_class_that_is_missing_in_a_domain_is_named_with_the_domain():
    data = single(60, domain_names=COLOURS)
    keep = np.flatnonzero((data.labels > 0) | (data.domains < 2))
    part = dataset(data.labels[keep], data.domains[keep], keep, 6, COLOURS)
    message = refused(part, by_domains(classes_per_task=6))
    assert message.startswith("scenario: class 'A' of client 'client-1' in domain 'blue' must have")
    assert "found 0, 0 and 0" in message


def test_private_classes_are_one_clients_in_every_domain():
    data = single(60, domain_names=COLOURS)
    streams = build_scenario(data, by_domains(private_classes=2), seed=0)
    one, other = (set(client.tasks[0].classes) for client in streams.clients)
    assert len(one & other) == 2


# -- repeated tasks


def test_repeated_tasks_have_the_classes_and_tests_of_the_first_ones_and_other_items():
    data = single(60)
    streams = build_scenario(data, settings(tasks=3, repeats=2), seed=0)
    plain = build_scenario(data, settings(tasks=3), seed=0)
    for client, once in zip(streams.clients, plain.clients, strict=True):
        assert len(client.tasks) == 5
        for first, again, whole in zip(
            client.tasks[:2], client.tasks[3:], once.tasks, strict=False
        ):
            assert first.classes == again.classes == whole.classes
            assert np.array_equal(first.test, again.test)
            for part in ("own", "validation"):
                visits = getattr(first, part), getattr(again, part)
                assert sorted(np.concatenate(visits)) == getattr(whole, part).tolist()
                # one class may have one item more in its first visit
                assert 0 <= len(visits[0]) - len(visits[1]) <= 2
        assert np.array_equal(client.tasks[2].own, once.tasks[2].own)
        assert client.seen(3) == client.seen(5)


def test_repeats_need_as_many_tasks_with_new_data():
    assert refused(single(60), settings(repeats=3)) == (
        "scenario.repeats: must leave every client a task with new data for each one that is "
        "repeated, found 3 repeats among the 5 tasks of client 1"
    )
    assert refused(single(60), settings(repeats=1, joins=[1, 3])) == (
        "scenario.repeats: must leave every client a task with new data for each one that is "
        "repeated, found 1 repeats among the 1 tasks of client 2"
    )


def test_repeated_class_needs_a_training_item_for_every_visit():
    message = refused(single(60), settings(repeats=1, train_per_class=1))
    assert "must have at least 2 training (it is repeated), one validation and one" in message
    assert "found 1, " in message


def test_items_of_a_cell_are_divided_evenly_between_visits_in_their_order():
    holding = {(0, 5): np.array([9, 1, 8, 2, 7]), (0, 6): np.array([4, 3])}
    tasks = by_task(holding, 0, [(5,), (5, 6), (5,)])
    assert [task.tolist() for task in tasks] == [[2, 9], [1, 3, 4, 7], [8]]


def test_domains_can_be_repeated():
    data = single(90, domain_names=COLOURS)
    streams = build_scenario(data, by_domains(repeats=1), seed=0)
    for client in streams.clients:
        domains = [set(data.domains[task.own]) for task in client.tasks]
        assert len(domains) == 4 and domains[3] == domains[0]
        assert not set(client.tasks[0].own) & set(client.tasks[3].own)


# -- blurred borders


def board_of(data, wanted):
    return lay_out(data, wanted, plan_clients(data, wanted, 0))


def test_blur_moves_its_fraction_of_every_task():
    data, wanted = single(500), settings(tasks=3, blur=0.1)
    plain = build_scenario(data, settings(tasks=3), seed=0)
    blurred = build_scenario(data, wanted, seed=0)
    for client, before in zip(blurred.clients, plain.clients, strict=True):
        assert sorted(held(client)) == sorted(held(before))
        arrived = np.zeros((3, 3), int)
        for i, was in enumerate(before.tasks):
            for j, task in enumerate(client.tasks):
                arrived[i, j] = len(np.intersect1d(was.own, task.own))
        moved = arrived.sum(1) - arrived.diagonal()
        assert moved.tolist() == [round(0.1 * len(task.own)) for task in before.tasks]
        assert (arrived > 0).all()  # to both of the other tasks, whether earlier or later
        for task, was in zip(client.tasks, before.tasks, strict=True):
            assert task.classes == was.classes == task.met[:2]
            assert sorted(task.met) == np.unique(data.labels[task.own]).tolist()
            assert np.array_equal(task.validation, was.validation)
            assert np.array_equal(task.test, was.test)
        assert client.seen(1) == sorted(client.tasks[0].met)


def test_without_blur_the_classes_met_are_those_of_the_task():
    streams = build_scenario(single(60), settings(), seed=0)
    assert all(t.met == t.classes for client in streams.clients for t in client.tasks)


def test_one_item_of_every_class_stays_however_strong_the_blur():
    data, wanted = single(30), settings(tasks=3)
    items = [np.flatnonzero(np.isin(data.labels, pair)) for pair in ((0, 1), (2, 3), (4, 5))]
    blurred = blur_borders(items, board_of(data, wanted), 0.999, rng_for(0, "test"))
    for was, now in zip(items, blurred, strict=True):
        assert set(data.labels[was]) <= set(data.labels[now])
        assert len(np.intersect1d(was, now)) == 2  # of 60, of which 58 could move
    assert sorted(np.concatenate(blurred)) == sorted(np.concatenate(items))


def test_blur_has_nowhere_to_go_with_a_single_task():
    data, wanted = single(60), settings(tasks=1, blur=0.5)
    plain = build_scenario(data, settings(tasks=1), seed=0)
    for client, before in zip(build_scenario(data, wanted, 0).clients, plain.clients, strict=True):
        assert np.array_equal(client.tasks[0].own, before.tasks[0].own)


def test_sums_are_over_the_blurred_items_and_histories_grow_from_them():
    data = single(200)
    plain, own, pooled = (
        build_scenario(data, settings(tasks=3, blur=0.2, history=history), seed=0)
        for history in ("task", "own", "pooled")
    )
    for k, client in enumerate(plain.clients):
        for t, task in enumerate(client.tasks):
            so_far = np.sort(np.concatenate([before.own for before in client.tasks[: t + 1]]))
            assert np.array_equal(task.train, task.own)
            assert np.array_equal(own.clients[k].tasks[t].own, task.own)
            assert np.array_equal(own.clients[k].tasks[t].train, so_far)
            lent = pooled.clients[k].tasks[t].train
            assert set(data.labels[lent]) == set(client.seen(t + 1))
            assert set(so_far) <= set(lent)


# -- official divisions


def halves(count):
    return np.arange(count) % 5 == 0


def test_official_test_items_are_the_test_and_nothing_else_is():
    data = single(50, classes=4, split=halves(200))
    wanted = settings(public_per_class=99, test=0.7)  # ignored
    streams = build_scenario(data, wanted, seed=0)
    tested = np.unique(np.concatenate([held(c, "test") for c in streams.clients]))
    assert tested.tolist() == np.flatnonzero(data.split == 1).tolist()
    # of 160 official training items: 16 public, then 29 of 144 validation (4 classes of 36: 7 each)
    assert len(streams.public) == 16
    assert sum(len(held(client, "validation")) for client in streams.clients) == 28
    assert sum(len(held(client)) for client in streams.clients) == 160 - 16 - 28


def test_class_without_official_test_items_is_refused():
    labels = np.arange(200) % 4
    data = single(50, classes=4, split=halves(200) & (labels != 2))
    assert "class 'C'" in (message := refused(data, settings()))
    assert message.count("and 0;") == 1


def test_official_division_must_not_cut_a_group():
    plain = emoji_like(20)
    cut = dataset(plain.labels, plain.domains, plain.groups, split=plain.domains)
    assert refused(cut, settings()) == (
        "data set 'synthetic': its official division must leave groups whole, found 120 with "
        "items in training and in test"
    )


@pytest.mark.parametrize(("part", "found"), [(0, "200 and 0"), (1, "0 and 200")])
def test_official_division_must_have_both_parts(part, found):
    data = single(50, classes=4, split=np.full(200, part))
    assert refused(data, settings()) == (
        "data set 'synthetic': its official division must have training and test items, found "
        f"{found}"
    )


@pytest.mark.parametrize(
    ("classes", "private", "public"), [(100, 15, 20), (200, 40, 5)], ids=["cifar", "imagenet-r"]
)
def test_protocol_of_five_clients_with_forty_classes_each(classes, private, public):
    """The protocol of FedTA (CVPR 2025): 5 x 15 + 25 = 100, or 5 x 40 = 200 classes."""
    data = single(60, classes=classes, split=np.arange(60 * classes) // classes >= 50)
    wanted = Scenario(
        clients=5,
        tasks=5,
        classes_per_task=8,
        private_classes=private,
        public=0.4,
        public_per_class=public,
    )
    streams = build_scenario(data, wanted, seed=0)
    streamed = [frozenset(c for t in client.tasks for c in t.classes) for client in streams.clients]
    assert {len(own) for own in streamed} == {40}
    shared = frozenset.intersection(*streamed)
    assert len(shared) == 40 - private
    assert len(frozenset.union(*streamed)) == classes
    orders = {tuple(c for t in client.tasks for c in t.classes) for client in streams.clients}
    assert len(orders) == 5
    assert set(np.bincount(data.labels[streams.public])) == {public}
    for client in streams.clients:
        for task in client.tasks:
            assert np.bincount(data.labels[task.test])[list(task.classes)].tolist() == [10] * 8
            assert set(data.split[task.test]) == {1}
            assert set(data.split[np.concatenate([task.train, task.validation])]) == {0}
