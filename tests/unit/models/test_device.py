"""Where and how precisely the FM computes."""

import os

import pytest
import torch

from fedbridge.core.errors import UserError
from fedbridge.methods.files import parse_config
from fedbridge.models import device
from fedbridge.models.device import device_of, precision_of
from fedbridge.models.fm.foundation import computing_in, foundation_of
from sites import common

CPU = torch.device("cpu")


def engine(**settings: str):
    return parse_config({"engine": settings}, "test")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    torch.use_deterministic_algorithms(False)


def on_gpu(monkeypatch: pytest.MonkeyPatch, bfloat16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bfloat16)


@pytest.mark.parametrize("chosen", ["float32", "bfloat16", "float16"])
def test_a_chosen_precision_is_taken_everywhere(chosen: str, monkeypatch: pytest.MonkeyPatch):
    assert precision_of(engine(precision=chosen, device="cpu")) == chosen
    on_gpu(monkeypatch, bfloat16=False)
    assert precision_of(engine(precision=chosen)) == chosen


def test_auto_is_bfloat16_on_gpus_that_have_it_and_float32_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
):
    assert precision_of(engine(device="cpu")) == "float32"
    on_gpu(monkeypatch, bfloat16=True)
    assert precision_of(engine()) == "bfloat16"
    assert precision_of(engine(device="cpu")) == "float32"
    on_gpu(monkeypatch, bfloat16=False)
    assert precision_of(engine()) == "float32"


def test_sites_agree_whatever_machines_they_have(monkeypatch: pytest.MonkeyPatch):
    on_gpu(monkeypatch, bfloat16=True)
    assert precision_of(common(engine={"device": "auto"})) == "float32"


def test_the_device_is_the_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == CPU
    with pytest.raises(UserError, match=r"engine.device: no CUDA device is .*, found 'cuda:1'"):
        device_of("cuda:1")
    with pytest.raises(UserError, match=r"engine.device: must be auto, cpu or cuda, found 'gpu'"):
        device_of("gpu")
    on_gpu(monkeypatch, bfloat16=True)
    assert device.device_of("auto").type == "cuda"


def test_a_gpu_computes_repeatably_and_a_processor_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
):
    device_of("cpu")
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    on_gpu(monkeypatch, bfloat16=True)
    device_of("cuda")
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_products_are_of_the_precision(precision: str):
    a = torch.ones(2, 2)
    with computing_in(precision, CPU):
        assert (a @ a).dtype == getattr(torch, precision)
    assert (a @ a).dtype == torch.float32


def test_a_config_s_model_is_loaded_with_its_precision():
    tree = {"large": {"size": 16}, "engine": {"device": "cpu", "precision": "bfloat16"}}
    fm = foundation_of(parse_config(tree, "test"))
    assert (fm.name, fm.size, fm.precision) == ("patches", 16, "bfloat16")
