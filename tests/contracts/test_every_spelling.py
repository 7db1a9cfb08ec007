"""Models that a user brings keep the promises of those that come with fedbridge."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from brought import foundation_models, small_models
from fedbridge.models import FOUNDATION_SOURCES, SMALL_SOURCES, build_backbone
from fedbridge.models.fm.foundation import FoundationModel, Items, load_foundation
from fedbridge.models.small.trial import check_models

CPU = torch.device("cpu")
SMALL = (
    *("own", "own-text", "type-resnet", "type-vit", "type-convnext", "type-text-bert"),
    *("type-text-gpt2", "folder", "folder-text", "pretrained", "pretrained-text"),
)
LARGE = (
    *("transformers", "transformers-text", "sentences-text"),
    *("onnx", "onnx-text", "own", "own-text"),
)
CASES = [
    (name, shape)
    for name in SMALL
    for shape in ([(96,)] if "text" in name else [(1, 16, 16), (3, 32, 32)])
]
every_small = pytest.mark.parametrize(("name", "shape"), CASES)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return small_models(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return foundation_models(tmp_path_factory.mktemp("large"))


def test_no_spelling_is_left_out_but_those_that_need_a_package_that_is_not_here(small, large):
    sources = {spec.partition(":")[0] for spec in small.values()}
    assert set(SMALL) == set(small) and set(LARGE) == set(large)
    assert set(SMALL_SOURCES) - sources == {"timm", "timm-pretrained"}
    assert set(FOUNDATION_SOURCES) - {s.partition(":")[0] for s in large.values()} == {"timm"}


# -- small models


def build(spec: str, shape: tuple[int, ...], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_backbone(spec, shape)


def inputs(shape: tuple[int, ...], count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if len(shape) == 3:
        return torch.rand(count, *shape, generator=generator)
    ids = torch.randint(1, 8192, (count, *shape), generator=generator)
    lengths = torch.randint(1, shape[0] + 1, (count, 1), generator=generator)
    return ids * (torch.arange(shape[0]) < lengths)


@every_small
def test_a_small_model_passes_the_trial_and_draws_nothing_global(small, name, shape):
    before = torch.get_rng_state()

    check_models([small[name]], shape)

    assert torch.equal(torch.get_rng_state(), before)


@every_small
def test_one_seed_gives_one_model_and_another_seed_another(small, name, shape):
    first, again, other = (build(small[name], shape, seed) for seed in (0, 0, 1))
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in first.state_dict().items())
    x = inputs(shape, 4)
    assert not torch.equal(first.eval()(x), other.eval()(x))


@every_small
def test_an_item_does_not_depend_on_its_batch_in_evaluation(small, name, shape):
    model, x = build(small[name], shape).eval(), inputs(shape, 5)
    with torch.no_grad():
        together, apart = model(x), torch.cat([model(x[i : i + 1]) for i in range(5)])
    assert together.shape == (5, model.features) and together.dtype == torch.float32
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@every_small
@pytest.mark.parametrize("value", [0, 1])
def test_extreme_inputs_give_finite_features_and_gradients(small, name, shape, value):
    model, x = build(small[name], shape), torch.full_like(inputs(shape, 4), value)
    for mode in (model.train(), model.eval()):
        features = mode(x)
        features.sum().backward()
        assert features.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@every_small
def test_the_state_survives_safetensors(small, name, shape, tmp_path: Path):
    model, other = build(small[name], shape), build(small[name], shape, seed=1)
    model.train()(inputs(shape, 8))  # moves the buffers of BatchNorm
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x = inputs(shape, 3)
    assert torch.equal(other.eval()(x), model.eval()(x))


@every_small
def test_a_few_steps_lower_the_loss(small, name, shape):
    model, x, y = build(small[name], shape).train(), inputs(shape, 16), torch.arange(16) % 4
    head = torch.randn(model.features, 4, generator=torch.Generator().manual_seed(0)) * 0.1
    optimiser, losses = torch.optim.AdamW(model.parameters(), lr=5e-3), []
    for _ in range(15):
        loss = nn.functional.cross_entropy(model(x) @ head, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


# -- foundation models


@pytest.fixture(scope="module", params=LARGE)
def named(request: pytest.FixtureRequest, large: dict[str, str]) -> tuple[str, FoundationModel]:
    return request.param, load(large[request.param])


def load(spec: str, precision: str = "float32") -> FoundationModel:
    return load_foundation(spec, "auto", CPU, precision)


def items_for(name: str) -> Items:
    if "text" in name:
        return ["red apple", "green pear pear", "apple", "a pear"]
    return np.random.default_rng(0).integers(0, 256, (4, 1, 20, 20), dtype=np.uint8)


def test_embeddings_are_finite_floats_and_no_item_depends_on_its_batch(named):
    name, fm = named
    items = items_for(name)
    together, apart = fm.encode(items), torch.cat([fm.encode(items[i : i + 1]) for i in range(4)])
    assert together.shape == (4, fm.dimension) and together.dtype == torch.float32
    assert together.isfinite().all() and torch.pdist(together).min() > 1e-4
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_loading_again_gives_the_same_model_and_draws_nothing_global(named, large):
    name, fm = named
    before = torch.get_rng_state()
    again = load(large[name])
    assert torch.equal(torch.get_rng_state(), before)
    assert again.fingerprint == fm.fingerprint and len(bytes.fromhex(fm.fingerprint)) == 32
    assert torch.equal(again.encode(items_for(name)), fm.encode(items_for(name)))


def test_extreme_items_give_finite_embeddings(named):
    name, fm = named
    if "text" in name:
        extremes = ["", " ", "\x00", "apple " * 3000, "猫" * 50]
        assert fm.encode(extremes).isfinite().all()
    else:
        for side, value in ((1, 0), (64, 255)):
            assert fm.encode(np.full((2, 3, side, side), value, np.uint8)).isfinite().all()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_less_precision_is_close(named, large, precision):
    name, fm = named
    found = load(large[name], precision).encode(items_for(name))
    cosine = torch.nn.functional.cosine_similarity(found, fm.encode(items_for(name)))
    assert found.dtype == torch.float32 and cosine.min() > 0.98
