import pytest
import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin

from fedbridge.core.errors import UserError
from fedbridge.inference.export import export
from fedbridge.inference.export.hub import HubClassifier
from predictors import pictures, predictor


def test_it_is_saved_and_loaded_as_the_hub_does(tmp_path):
    one = predictor()
    model = HubClassifier.of(one)
    assert isinstance(model, PyTorchModelHubMixin)
    model.save_pretrained(tmp_path / "x")
    again = HubClassifier.from_pretrained(tmp_path / "x")
    x = torch.from_numpy(pictures()[:, None]).float() / 255
    assert torch.equal(again(x), one.small(x))
    assert again.about == one.about and again.reading == one.reading
    assert "smcf a: mlp" in ModelCard.load(tmp_path / "x" / "README.md").text


def test_what_was_exported_is_loaded_by_the_hub(tmp_path):
    one = predictor()
    export(one, tmp_path / "x", "safetensors")
    again = HubClassifier.from_pretrained(tmp_path / "x").predictor()
    assert again.predict(pictures()) == one.predict(pictures(), "small")
    assert again.classes == one.classes and again.usable == ("small",)


def test_pushing_sends_the_same_folder(tmp_path, monkeypatch):
    sent = {}

    class Hub:
        def __init__(self, **settings):
            pass

        def create_repo(self, repo_id, **settings):
            return type("Repo", (), {"repo_id": repo_id})()

        def upload_folder(self, folder_path, **settings):
            sent.update({path.name: path.read_bytes() for path in folder_path.iterdir()})

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    model = HubClassifier.of(predictor())
    model.push_to_hub("somebody/model")
    assert set(sent) == {"README.md", "config.json", "model.safetensors"}


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"config.json: reading"):
        HubClassifier("mlp", [1, 16, 16], ["a", "b"], 8, 16.0, reading={"modality": "sound"})
