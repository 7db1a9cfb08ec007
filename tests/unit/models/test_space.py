import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.models.small.space import anchors, as_input, build_small, embed, initial_seed, stored

names = st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True)


@given(names, st.integers(1, 40), st.integers(0, 2**40))
def test_anchors_are_unit_vectors(classes, dimension, seed):
    norms = anchors(tuple(classes), dimension, seed).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(len(classes)))


@given(names, names)
def test_an_anchor_depends_on_its_own_class_alone(old, more):
    alone = anchors(tuple(old), 16, 7)
    mixed = anchors((*more, *old), 16, 7)
    assert torch.equal(mixed[len(more) :], alone)


def test_another_seed_or_name_gives_another_anchor():
    one = anchors(("a", "b"), 64, 0)
    assert not torch.allclose(one[0], one[1])
    assert not torch.allclose(one, anchors(("a", "b"), 64, 1))


def test_anchors_are_nearly_orthonormal():
    table = anchors(tuple(f"class-{c}" for c in range(100)), 256, 0)

    cosines = (table @ table.T)[~torch.eye(100, dtype=torch.bool)]

    assert float(cosines.std()) == pytest.approx(256**-0.5, rel=0.1)
    assert abs(float(cosines.mean())) < 0.005
    assert float(cosines.abs().max()) < 0.35  # five and a half deviations


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("training", [False, True])
def test_small_models_map_onto_the_unit_sphere(name, training):
    model = build_small(name, (1, 16, 16), 24, 0).train(training)
    pictures = np.random.default_rng(0).integers(0, 256, (6, 1, 16, 16)).astype(np.uint8)
    pictures[0] = 0

    embedding = model(as_input(pictures))

    assert embedding.shape == (6, 24)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(6))


def test_a_small_model_is_a_function_of_its_seed():
    one, again, other = (build_small("mlp", (1, 16, 16), 8, seed) for seed in (5, 5, 6))

    for (key, a), b, c in zip(
        one.state_dict().items(),
        again.state_dict().values(),
        other.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(a, b), key
        assert not key.endswith("projector.weight") or not torch.equal(a, c)


def test_building_neither_reads_nor_moves_the_global_generator():
    torch.manual_seed(1)
    one = build_small("cnn", (1, 16, 16), 8, 5).projector.weight
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(build_small("cnn", (1, 16, 16), 8, 5).projector.weight, one)


def test_every_client_starts_from_its_own_seed():
    seeds = {initial_seed(seed, client) for seed in (0, 1) for client in ("a", "b")}
    assert len(seeds) == 4


def test_pictures_become_fractions_and_tokens_integers():
    picture = np.array([[0, 51, 255]], np.uint8)
    assert as_input(picture).tolist() == [pytest.approx([0.0, 0.2, 1.0])]
    tokens = np.array([[0, 7, 65535]], np.uint16)
    assert as_input(tokens).tolist() == [[0, 7, 65535]]
    assert as_input(tokens).dtype == torch.int64


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stored_inputs_are_copies_that_mean_the_same(dtype):
    inputs = np.array([[1, 2], [3, 200]], dtype)
    inputs.flags.writeable = False  # as memory-mapped ones are

    copy = stored(inputs)
    copy += 1

    assert inputs.tolist() == [[1, 2], [3, 200]]
    assert torch.equal(as_input(stored(inputs)), as_input(inputs))


def test_embedding_in_parts_is_embedding_at_once_and_keeps_the_mode():
    model = build_small("mlp", (1, 16, 16), 8, 0).train()
    inputs = torch.randint(256, (7, 1, 16, 16), dtype=torch.uint8)
    before = {k: v.clone() for k, v in model.state_dict().items()}

    whole, parts = embed(model, inputs), embed(model, inputs, batch=2)

    torch.testing.assert_close(whole, parts)
    assert model.training and not whole.requires_grad
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    torch.testing.assert_close(whole[:1], embed(model, inputs[:1]))  # no item minds the others
