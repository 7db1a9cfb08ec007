import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.core.rng import rng_for, seed_for

paths = st.lists(st.one_of(st.integers(0, 99), st.sampled_from("abcdef")), max_size=4)


def test_seeds_are_the_same_on_every_machine():
    # 63 bits of sha256("0/learn/a/2/1"), so also those of any other implementation
    assert seed_for(0, "learn", "a", 2, 1) == 0x2176E8C912D31F38
    assert seed_for(7) == 0x3C8134CDF2164547
    assert seed_for(0, "learn", "a", 2, 1) != seed_for(1, "learn", "a", 2, 1)


@given(st.integers(0, 2**40), paths)
def test_seeds_fit_into_63_bits(seed, path):
    assert 0 <= seed_for(seed, *path) < 2**63


@given(st.integers(0, 99), paths, paths)
def test_other_paths_have_other_seeds(seed, one, other):
    same = [str(part) for part in one] == [str(part) for part in other]
    assert (seed_for(seed, *one) == seed_for(seed, *other)) == same


def test_parts_do_not_run_into_each_other():
    assert seed_for(0, "client", 11) != seed_for(0, "client", 1, 1)
    assert seed_for(1, 2) != seed_for(12)


def test_draws_do_not_depend_on_what_was_drawn_before():
    alone = rng_for(3, "fuse", "b", 1).random(4)
    busy = rng_for(3, "fuse", "a", 1)
    busy.random(1000)
    np.testing.assert_array_equal(rng_for(3, "fuse", "b", 1).random(4), alone)
    assert not np.array_equal(busy.random(4), alone)


def test_global_state_of_numpy_is_neither_read_nor_changed():
    before = np.random.get_state()[1].copy()
    first = rng_for(0, "x").random()
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.seed(5)
    assert rng_for(0, "x").random() == first


def test_neighbouring_paths_are_uncorrelated():
    table = np.stack([rng_for(0, "learn", client).normal(size=2000) for client in range(5)])
    off_diagonal = np.corrcoef(table) - np.eye(5)
    assert np.abs(off_diagonal).max() < 0.1
