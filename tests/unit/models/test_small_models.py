"""What every small model promises, walked over the registry, and what its builder refuses."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fedbridge.core.errors import UserError
from fedbridge.models import SMALL_MODELS, build_backbone
from fedbridge.models.small.image import channels_last
from fedbridge.models.small.text import masked_mean, trimmed

SHAPES = {"image": [(1, 32, 32), (3, 32, 32), (1, 16, 16), (3, 16, 16)], "text": [(96,)]}
CASES = [
    pytest.param(name, shape, id=f"{name}-{'x'.join(map(str, shape))}")
    for name, entry in SMALL_MODELS.items()
    for shape in SHAPES[entry.modality]
]
every_model = pytest.mark.parametrize(("name", "shape"), CASES)


def build(name: str, shape: tuple[int, ...], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_backbone(name, shape)


def inputs(shape: tuple[int, ...], count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if len(shape) == 3:
        return torch.rand(count, *shape, generator=generator)
    ids = torch.randint(1, 8192, (count, *shape), generator=generator)
    lengths = torch.randint(1, shape[0] + 1, (count, 1), generator=generator)
    return ids * (torch.arange(shape[0]) < lengths)


@every_model
def test_features_are_as_wide_as_the_model_says(name: str, shape: tuple[int, ...]) -> None:
    model = build(name, shape)

    features = model(inputs(shape, 5))

    assert features.shape == (5, model.features)
    assert features.dtype == torch.float32


@every_model
def test_the_number_of_parameters_is_that_of_a_small_model(
    name: str, shape: tuple[int, ...]
) -> None:
    count = sum(parameter.numel() for parameter in build(name, shape).parameters())

    assert 50_000 <= count <= 5_000_000


@every_model
def test_every_parameter_gets_a_gradient(name: str, shape: tuple[int, ...]) -> None:
    model = build(name, shape)

    weights = torch.linspace(0.5, 1.5, int(model.features))
    (model(inputs(shape, 16)) * weights).square().sum().backward()

    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key


@every_model
def test_one_seed_gives_one_model_and_another_seed_another(
    name: str, shape: tuple[int, ...]
) -> None:
    first, again, other = build(name, shape), build(name, shape), build(name, shape, seed=1)

    for key, value in first.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)
    x = inputs(shape, 4)
    assert not torch.equal(first.eval()(x), other.eval()(x))


@every_model
def test_training_draws_nothing_from_global_randomness(name: str, shape: tuple[int, ...]) -> None:
    model = build(name, shape).train()
    before = torch.get_rng_state()

    model(inputs(shape, 4)).sum().backward()

    assert torch.equal(torch.get_rng_state(), before)


@every_model
def test_an_item_does_not_depend_on_its_batch_in_evaluation(
    name: str, shape: tuple[int, ...]
) -> None:
    model = build(name, shape).eval()
    x = inputs(shape, 6)

    with torch.no_grad():
        together, apart = model(x), torch.cat([model(x[i : i + 1]) for i in range(6)])

    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@every_model
@pytest.mark.parametrize("value", [0, 1])
def test_extreme_inputs_give_finite_features(name: str, shape: tuple[int, ...], value: int) -> None:
    model = build(name, shape)
    x = torch.full_like(inputs(shape, 4), value)

    for mode in (model.train(), model.eval()):
        features = mode(x)
        features.sum().backward()
        assert features.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@every_model
def test_the_state_survives_safetensors(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    model, other = build(name, shape), build(name, shape, seed=1)
    model.train()(inputs(shape, 8))  # moves the buffers of BatchNorm

    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))

    x = inputs(shape, 3)
    torch.testing.assert_close(other.eval()(x), model.eval()(x), rtol=0, atol=0)


@every_model
def test_a_few_steps_lower_the_loss(name: str, shape: tuple[int, ...]) -> None:
    model = build(name, shape)
    x, y = inputs(shape, 16), torch.arange(16) % 4
    # all features count: among rectified ones a few may be silent
    head = torch.randn(128, 4, generator=torch.Generator().manual_seed(0)) * 0.1
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []

    for _ in range(12):
        loss = nn.functional.cross_entropy(model(x) @ head, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < 0.8 * losses[0]


def test_no_model_contains_dropout() -> None:
    for name, entry in SMALL_MODELS.items():
        model = build(name, SHAPES[entry.modality][0])
        rates = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
        assert not any(rates), name


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown model 'cnm', known: cnn, cnn-wide, .*tiny-bert"):
        build_backbone("cnm", (1, 32, 32))


@pytest.mark.parametrize(
    ("name", "shape", "known"),
    [("cnn", (96,), "bag, textcnn"), ("bag", (1, 32, 32), "cnn, cnn-wide")],
)
def test_data_of_the_wrong_kind_are_refused(name: str, shape: tuple[int, ...], known: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' reads .* but the data are .*{known}"):
        build_backbone(name, shape)


@pytest.mark.parametrize("shape", [(2, 32, 32), (1, 28, 28), (3, 32, 16)])
def test_pictures_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"1 or 3 channels and 16 or 32 pixels"):
        build_backbone("cnn", shape)


@pytest.mark.parametrize(("name", "shape"), [("vit", (1, 32, 32)), ("tiny-bert", (96,))])
def test_a_missing_package_is_named_with_its_extra(
    name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(UserError, match=rf"'{name}'.*pip install \"fedbridge\[transformers\]\""):
        build_backbone(name, shape)


def test_the_registries_load_no_torch() -> None:
    code = "import sys, fedbridge.models; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_entry_names_a_function_and_a_summary() -> None:
    for entry in SMALL_MODELS.values():
        module, _, function = entry.builder.partition(":")
        assert callable(getattr(importlib.import_module(f"fedbridge.models.{module}"), function))
        assert entry.summary


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_changes_the_layout_only(channels: int) -> None:
    x = torch.rand(2, channels, 4, 4)

    turned = channels_last(x)

    assert torch.equal(turned, x)
    assert turned.stride() == (16 * channels, 1, 4 * channels, channels)


def test_trimming_keeps_every_token_and_at_least_one_column() -> None:
    ids = torch.tensor([[5, 0, 0, 0], [7, 8, 0, 0]])

    assert trimmed(ids).tolist() == [[5, 0], [7, 8]]
    assert trimmed(torch.zeros(2, 4, dtype=torch.long)).shape == (2, 1)


def test_the_masked_mean_leaves_padding_out() -> None:
    states = torch.tensor([[[1.0], [3.0], [100.0]], [[9.0], [9.0], [9.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])

    assert masked_mean(states, mask).tolist() == [[2.0], [0.0]]


@pytest.mark.parametrize("name", [k for k, e in SMALL_MODELS.items() if e.modality == "text"])
def test_padding_does_not_change_a_text(name: str) -> None:
    model = build(name, (96,)).eval()
    ids = torch.zeros(1, 96, dtype=torch.long)
    ids[0, :4] = torch.tensor([11, 12, 13, 14])

    with torch.no_grad():
        torch.testing.assert_close(model(ids[:, :4]), model(ids), rtol=1e-4, atol=1e-5)
