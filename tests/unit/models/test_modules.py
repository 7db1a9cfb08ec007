"""Foundation models as modules: the same embeddings, with gradients."""

import httpx2
import huggingface_hub
import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTModel

from fedbridge.core.errors import UserError
from fedbridge.models.fm.foundation import load_foundation
from fedbridge.models.fm.transformer import foundation_module

CPU = torch.device("cpu")
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 1, 20, 20), dtype=np.uint8)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> str:
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                       intermediate_size=16, image_size=32, patch_size=8)  # fmt: skip
    folder = tmp_path_factory.mktemp("vit")
    ViTModel(config).save_pretrained(folder)
    return f"transformers:{folder}"


@pytest.mark.parametrize("spec", ["minilm", "focus", "own"])
def test_module_gives_what_the_frozen_model_gives(spec, own):
    spec = own if spec == "own" else spec
    module, fm = foundation_module(spec, 32, CPU), load_foundation(spec, 32, CPU, "float32")
    items = ["a word", "a longer text"] if fm.modality == "text" else PICTURES
    result = module(**module.read(items))
    assert result.shape == (len(items), fm.dimension)
    torch.testing.assert_close(result.detach(), fm.encode(items), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", ["minilm", "focus", "own"])
def test_gradients_reach_the_backbone(spec, own):
    module = foundation_module(own if spec == "own" else spec, 32, CPU)
    items = ["a word"] if spec == "minilm" else PICTURES
    module(**module.read(items)).square().sum().backward()
    first = next(iter(module.backbone.encoder.parameters())) if spec == "minilm" else None
    grads = [p.grad for p in module.backbone.parameters() if p.grad is not None]
    assert first is None or first.grad is not None
    assert len(grads) > 5 and all(grad.isfinite().all() for grad in grads)
    assert not module.training


def test_only_transformers_can_be_had_as_modules():
    with pytest.raises(UserError, match=r"must be minilm, focus or transformers:.*, found 'lite0'"):
        foundation_module("lite0", 32, CPU)
    with pytest.raises(UserError, match="found 'transformers:'"):
        foundation_module("transformers:", 32, CPU)


@pytest.fixture
def unreachable(monkeypatch) -> list[str]:
    """Put the hub out of reach; return what it is asked for nevertheless."""
    asked = []

    def info(self, where, timeout):
        asked.append(where)
        raise httpx2.ConnectError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    return asked


def test_hub_out_of_reach_is_told_without_retries(unreachable):
    message = r"nobody/nothing: the Hugging Face hub cannot be reached \(Name or .*\) and has not"
    with pytest.raises(UserError, match=message):
        foundation_module("transformers:nobody/nothing", 32, CPU)
    assert unreachable == ["nobody/nothing"]


def test_what_the_hub_gave_before_is_read_where_it_lies(unreachable, own, monkeypatch):
    folder = own.removeprefix("transformers:")

    def cached(where, file):
        return f"{folder}/{file}" if where == "someone/vit" else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    module = foundation_module("transformers:someone/vit", 32, CPU)
    expected = foundation_module(own, 32, CPU)
    torch.testing.assert_close(module(**module.read(PICTURES)), expected(**expected.read(PICTURES)))
    assert module.name == "transformers:someone/vit" and unreachable == ["someone/vit"]
