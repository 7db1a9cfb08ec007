"""Streams that the data state, on data small enough to see every item."""

import numpy as np
import pytest

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.data.dataset import Dataset
from fedbridge.data.streams.scenario import build_scenario


def stated(labels, tasks, domains=None, groups=None) -> Dataset:
    """Return texts that say where and when they come."""
    count = len(labels)
    where = np.array(domains or [0] * count)
    return Dataset(
        name="own",
        modality="text",
        items=tuple(f"item {n}" for n in range(count)),
        inputs=np.ones((count, 96), np.uint16),
        labels=np.array(labels),
        domains=where,
        groups=np.arange(count) if groups is None else np.array(groups),
        classes=tuple("abcdef"[: max(labels) + 1]),
        domain_names=tuple(f"site-{n}" for n in range(where.max() + 1)),
        fingerprint="0" * 64,
        licences=(),
        tasks=None if tasks is None else np.array(tasks),
        task_names=() if tasks is None else tuple(f"month-{n}" for n in range(max(tasks) + 1)),
    )


def settings(**changes) -> Scenario:
    return Scenario(**({"kind": "given", "clients": 1, "tasks": 2} | changes))


def refused(data, seed=0, **changes) -> str:
    with pytest.raises(UserError) as caught:
        build_scenario(data, settings(**changes), seed)
    return str(caught.value)


TWO_SITES = stated(
    labels=[0, 1] * 60,
    tasks=[n // 60 for n in range(120)],
    domains=[n // 2 % 2 for n in range(120)],
)


def test_sites_have_their_own_items_in_the_tasks_they_say():
    wanted = settings(clients=2, clients_are="domains", test=0.2, public=0.1, validation=0.2)
    streams = build_scenario(TWO_SITES, wanted, seed=0)
    assert [client.name for client in streams.clients] == ["site-0", "site-1"]
    for number, client in enumerate(streams.clients):
        assert [task.name for task in client.tasks] == ["month-0", "month-1"]
        for slot, task in enumerate(client.tasks):
            rows = np.concatenate([task.own, task.validation, task.test])
            assert set(TWO_SITES.domains[rows]) == {number}
            assert set(TWO_SITES.tasks[rows]) == {slot}
            assert task.classes == task.met == (0, 1)
            # 30 items, of each class 15: 3 are tested, 1 or 2 public, of the others a fifth held
            assert len(task.test) == 6
            assert 24 - 2 * 2 <= len(task.own) + len(task.validation) <= 24 - 2 * 1
            assert 2 * 2 <= len(task.validation) <= 2 * 3


def test_clients_share_what_no_site_owns():
    streams = build_scenario(TWO_SITES, settings(clients=3, alpha=100.0), seed=0)
    assert [client.name for client in streams.clients] == ["client-1", "client-2", "client-3"]
    for slot in range(2):
        tasks = [client.tasks[slot] for client in streams.clients]
        own = np.concatenate([task.own for task in tasks])
        assert len(np.unique(own)) == len(own)
        assert set(TWO_SITES.tasks[own]) == {slot}
        assert all(np.array_equal(task.test, tasks[0].test) for task in tasks)


def test_a_client_without_items_in_a_task_takes_no_part_in_it():
    data = stated(
        labels=[0, 1] * 40,
        tasks=[0] * 20 + [1] * 20 + [2] * 40,
        domains=[0] * 20 + [1] * 20 + [0] * 20 + [1] * 20,
    )
    wanted = settings(clients=2, clients_are="domains", tasks=3, participation_rounds=[1])
    early, late = build_scenario(data, wanted, seed=0).clients
    assert (early.slots, late.slots) == ((1, 3), (2, 3))
    assert [early.own_task(slot) for slot in range(4)] == [0, 1, 1, 2]
    assert [late.own_task(slot) for slot in range(4)] == [0, 0, 1, 2]
    assert [early.takes_part(slot, 2, 2) for slot in (1, 2, 3)] == [True, False, True]
    assert not early.takes_part(1, 1, 2)  # of two rounds it makes the effort of the last
    assert early.tasks[1].name == "month-2"


def test_equal_items_are_on_one_side_whatever_their_tasks():
    groups = [n % 20 for n in range(80)]
    data = stated([n % 2 for n in groups], [n // 40 for n in range(80)], groups=groups)
    (client,) = build_scenario(data, settings(), seed=0).clients
    for one, other in ((0, 1), (1, 0)):
        trained = set(data.groups[client.tasks[one].own])
        assert not trained & set(data.groups[client.tasks[other].test])


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_one_item_is_trained_on_and_a_task_has_a_test(seed):
    # in month 1: one item of class 0, two of class 1
    data = stated([0, 1] * 20 + [0, 1, 1], [0] * 40 + [1] * 3)
    (client,) = build_scenario(data, settings(), seed).clients
    task = client.tasks[1]
    assert set(data.labels[task.own]) == {0, 1}
    assert data.labels[task.test].tolist() == [1]


def test_the_public_set_is_limited_and_the_rest_is_trained_on():
    wanted = settings(public=0.4, public_per_class=2)
    streams = build_scenario(TWO_SITES, wanted, seed=0)
    assert np.bincount(TWO_SITES.labels[streams.public]).tolist() == [2, 2]
    used = [task for client in streams.clients for task in client.tasks]
    rows = [np.concatenate([t.own, t.validation, t.test]) for t in used]
    assert sum(map(len, rows)) + 4 == 120


def test_history_lends_earlier_tasks():
    (client,) = build_scenario(TWO_SITES, settings(history="own"), seed=0).clients
    first, second = client.tasks
    assert np.array_equal(second.train, np.sort(np.concatenate([first.own, second.own])))


def test_a_task_too_small_for_a_test_is_named_with_all_others():
    data = stated([0, 1] * 20 + [0, 1, 0], [0] * 40 + [1] * 2 + [2])
    message = refused(data, tasks=3)
    assert (
        "found none in month-1 of client-1 (2 to train on), month-2 of client-1 (1 to " in message
    )
    assert "longer periods, fewer clients or leaving those items out help" in message


def test_measuring_on_what_is_held_back_needs_some_in_every_task():
    data = stated([0, 1] * 20 + [0, 1] * 2, [0] * 40 + [1] * 4)
    assert build_scenario(data, settings(validation=0.1), seed=0)
    message = refused(data, validation=0.1, measure="validation")
    assert "'validation' needs items that every task holds back, found none in task 2" in message


def test_other_numbers_than_the_datas_are_answered_with_theirs():
    message = refused(TWO_SITES, clients=3, clients_are="domains", tasks=5)
    assert message == (
        "scenario.tasks: must be 2, since own has the tasks month-0, month-1; found 5. "
        "scenario.clients: must be 2, since own has the domains site-0, site-1; found 3"
    )


def test_data_without_tasks_are_refused():
    assert "'given' needs data that say which task an item is of" in refused(stated([0, 1], None))


def test_clients_without_items_are_named():
    data = stated([0, 1] * 3, [0, 0, 0, 1, 1, 1])
    assert "every client must have items to train on, found none for" in refused(data, clients=40)
