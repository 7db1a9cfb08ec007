import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fedbridge.core.errors import UserError
from fedbridge.core.saved import digests
from fedbridge.inference import load_predictor
from predictors import pictures, predictor, text_predictor


@pytest.fixture
def folder(tmp_path):
    predictor().save(tmp_path / "p")
    return tmp_path / "p"


def resealed(folder, change=None):
    """Change a manifest and make it fit the files again, as whoever forges one would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if change:
        change(manifest["about"])
    path.write_text(json.dumps(manifest | {"files": digests(folder)}))


def test_what_is_loaded_predicts_the_same(folder):
    one, other = predictor(), load_predictor(folder)
    for using in one.usable:
        np.testing.assert_array_equal(
            one.predict_proba(pictures(), using), other.predict_proba(pictures(), using)
        )
    assert other.about == one.about


def test_the_small_model_alone_is_saved_without_the_large_side(tmp_path):
    predictor().only_small().save(tmp_path / "p")
    assert not (tmp_path / "p" / "large.safetensors").exists()
    assert load_predictor(tmp_path / "p").usable == ("small",)


def test_texts_are_predicted_again(tmp_path):
    text_predictor().save(tmp_path / "p")
    texts = ["one", "two words"]
    assert load_predictor(tmp_path / "p").predict(texts) == text_predictor().predict(texts)


def test_nothing_is_pickled(folder):
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}


@pytest.mark.parametrize("name", ["small.safetensors", "large.safetensors"])
def test_a_changed_file_is_noticed(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(UserError, match=f"{name}: has changed"):
        load_predictor(folder)


@pytest.mark.parametrize("name", ["small.safetensors", "large.safetensors"])
def test_arrays_that_do_not_fit_are_refused_even_under_a_fitting_manifest(folder, name):
    arrays = load_file(folder / name)
    for change in ({"anchors": torch.zeros(2, 8), "head": torch.zeros(512, 2)}, None):
        changed = {k: (change or {}).get(k, v) for k, v in arrays.items()}
        if change is None:
            changed = {k: v * torch.nan for k, v in arrays.items()}
        save_file(changed, folder / name)
        resealed(folder)
        with pytest.raises(UserError, match=name):
            load_predictor(folder)


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda about: about.update(sharpness="big"), "about.sharpness"),
        (lambda about: about["small"].update(model="nothing"), "unknown model 'nothing'"),
        (lambda about: about["reading"].update(modality="sound"), "about.reading.modality"),
        (lambda about: about.update(more=1), "about.more"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(folder, change, told):
    resealed(folder, change)
    with pytest.raises(UserError, match=told):
        load_predictor(folder)
