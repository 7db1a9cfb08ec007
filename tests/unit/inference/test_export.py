import json

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from fedbridge.core.errors import UserError
from fedbridge.core.tokens import tokenize
from fedbridge.inference.export import export
from fedbridge.inference.export.formats import compared, example
from fedbridge.models import SMALL_MODELS
from predictors import CLASSES, pictures, predictor, text_predictor


@pytest.mark.parametrize("model", ["cnn", "bag"])
def test_an_onnx_graph_predicts_what_the_model_does(tmp_path, model):
    texts = SMALL_MODELS[model].modality == "text"
    one = text_predictor(model) if texts else predictor(model=model)
    file, difference = export(one, tmp_path / "x", "onnx")
    assert difference <= 1e-4 * 16
    x = ["a text", "and one more"] if texts else pictures()
    stored = np.stack([tokenize(t) for t in x]).astype(np.int64) if texts else None
    inputs = stored if texts else pictures()[:, None].astype(np.float32) / 255
    (scores,) = onnxruntime.InferenceSession(str(file)).run(["scores"], {"input": inputs})
    shares = torch.from_numpy(scores).double().softmax(1).numpy()
    np.testing.assert_allclose(shares, one.predict_proba(x, "small"), atol=1e-5)


@pytest.mark.parametrize("model", SMALL_MODELS)
def test_every_model_can_be_traced(tmp_path, model):
    texts = SMALL_MODELS[model].modality == "text"
    one = text_predictor(model) if texts else predictor(large=False, model=model)
    file, _ = export(one, tmp_path / "x", "torchscript")
    x = example(one.small.input_shape, 5)
    torch.testing.assert_close(torch.jit.load(str(file))(x), one.small(x), atol=1e-4, rtol=1e-4)


def test_weights_and_settings_are_written(tmp_path):
    one = predictor()
    file, difference = export(one, tmp_path / "x", "safetensors")
    assert difference == 0.0
    arrays = load_file(file)
    assert all(torch.equal(arrays[k], v) for k, v in one.small.state_dict().items())
    settings = json.loads((tmp_path / "x" / "config.json").read_text())
    assert settings["classes"] == list(CLASSES)
    assert settings["reading"]["inputs"] == [1, 16, 16]


def test_an_export_may_be_replaced_but_nothing_else(tmp_path):
    export(predictor(), tmp_path / "x", "torchscript")
    export(predictor(), tmp_path / "x", "safetensors")
    names = {path.name for path in (tmp_path / "x").iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md", "manifest.json"}
    predictor().save(tmp_path / "y")
    with pytest.raises(UserError, match="this one is in use"):
        export(predictor(), tmp_path / "y", "safetensors")


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UserError, match="format: must be one of onnx, torchscript, safetensors"):
        export(predictor(), tmp_path / "x", "gguf")
    assert not (tmp_path / "x").exists()


class Stubborn(torch.nn.Module):
    """Leaves in a graph, as a constant, how bright the first picture was when it was traced."""

    features = 4

    def forward(self, x):
        return x.flatten(1)[:, :4] + float(x[0].sum())


class Untraceable(Stubborn):
    """Does with values what no graph can hold."""

    def forward(self, x):
        return torch.tensor(np.asarray(x.flatten(1)[:, :4].tolist(), np.float32))


@pytest.fixture
def model_of(monkeypatch):
    def made(kind):
        monkeypatch.setattr("fedbridge.models.small.image.mlp", lambda shape: kind())
        return predictor(large=False)

    return made


def test_a_graph_that_computes_something_else_is_refused(tmp_path, model_of):
    with pytest.raises(UserError, match="TorchScript must give the scores of 'mlp' within"):
        export(model_of(Stubborn), tmp_path / "x", "torchscript")
    assert not (tmp_path / "x").exists()


def test_what_an_exporter_cannot_hold_is_told(tmp_path, model_of):
    with pytest.raises(UserError, match="format: ONNX cannot hold 'mlp'"):
        export(model_of(Untraceable), tmp_path / "x", "onnx")
    assert not (tmp_path / "x").exists()


def test_scores_of_another_shape_or_no_numbers_are_refused():
    small = predictor().small
    with pytest.raises(UserError, match=r"must give scores of shape \(1, 3\)"):
        compared("weird", small, lambda x: small(x)[:, :2])
    with pytest.raises(UserError, match="found a difference of nan"):
        compared("weird", small, lambda x: small(x) * torch.nan)
