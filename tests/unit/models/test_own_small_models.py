"""Small models that a user brings: what is refused, and what is made of those that are taken."""

import sys
from pathlib import Path

import pytest
import torch

from brought import save_long_bert
from fedbridge.core.errors import UserError
from fedbridge.models import build_backbone
from fedbridge.models.small.space import build_small
from fedbridge.models.small.trial import check_models
from tiny_transformers import save_bert, save_vit

SHAPE, TEXT = (1, 16, 16), (96,)
FAULTY = """
import torch
from torch import nn

number = 3


class Net(nn.Module):
    def __init__(self, features, answer):
        super().__init__()
        if features is not None:
            self.features = features
        self.answer = answer
        self.linear = nn.Linear(256, 8)

    def forward(self, x):
        return self.answer(self.linear(x.flatten(1)))


def broken(shape):
    raise ValueError("broken here")


def nothing(shape):
    return None


def untold(shape):
    return Net(None, lambda x: x)


def negative(shape):
    return Net(-1, lambda x: x)


def narrow(shape):
    return Net(9, lambda x: x)


def double(shape):
    return Net(8, lambda x: x.double())


def tuples(shape):
    return Net(8, lambda x: (x, x))


def infinite(shape):
    return Net(8, lambda x: x / 0)


def raising(shape):
    return Net(8, lambda x: x @ x)


def random(shape):
    return Net(8, nn.Dropout(0.5))


def pair(shape):
    net = Net(8, lambda x: x)
    net.other = nn.Linear(256, 8)
    net.other.weight = net.linear.weight
    return net


def alone(shape):
    return Net(8, nn.BatchNorm1d(8))


def wide(model):
    model.features = 8
    return model


def lazy(shape):
    return wide(nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.LazyBatchNorm1d()))


def never(shape):
    net = Net(8, lambda x: x)
    net.other = nn.LazyLinear(8)
    return net


def complex(shape):
    net = Net(8, lambda x: x * net.w.real)
    net.w = nn.Parameter(torch.ones(8, dtype=torch.cfloat))
    return net


def doubled(shape):
    return Net(8, lambda x: x).double()


def expanded(shape):
    net = Net(8, lambda x: x + net.b)
    net.b = nn.Parameter(torch.zeros(1).expand(8))
    return net


def endless(shape):
    net = Net(8, lambda x: x)
    nn.init.constant_(net.linear.weight, float("inf"))
    return net


def unknown(shape):
    net = Net(8, lambda x: x)
    net.register_buffer("low", torch.full((3,), float("nan")))
    return net


def numpy(shape):
    import numpy as np

    net = Net(8, lambda x: x)
    net.linear.weight.data = torch.from_numpy(np.random.rand(8, 256).astype("f4"))
    return net


def former(shape):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wide(nn.Sequential(nn.Flatten(), torch.nn.utils.weight_norm(nn.Linear(256, 8))))


def in_place(shape):
    return Net(8, lambda x: x.sigmoid().add_(1).sigmoid_().mul_(2))


def masked(shape):
    net = Net(8, lambda x: x @ (net.mask + x.new_zeros(8, 8)).softmax(1))
    net.register_buffer("mask", torch.full((8, 8), float("-inf")).triu(1))
    net.register_buffer("steps", torch.zeros((), dtype=torch.int64))
    net.register_buffer("on", torch.ones(8, dtype=torch.bool))
    return net


def normed(shape):
    norm = torch.nn.utils.parametrizations.weight_norm
    return wide(nn.Sequential(nn.Flatten(), norm(nn.Linear(256, 8))))


def still(shape):
    return Net(8, lambda x: x).requires_grad_(False)


def static(shape):
    norm = nn.BatchNorm2d(2, track_running_stats=False)
    layers = nn.Conv2d(1, 2, 3), norm, nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return wide(nn.Sequential(*layers))
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faulty_models.py").write_text(FAULTY, encoding="utf-8")
    (tmp_path / "unreadable_models.py").write_text("import no_such_package\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_such_module:f", "cannot be used: there is no module 'no_such_module' in /"),
        ("unreadable_models:f", "cannot be used: ModuleNotFoundError: No module named 'no_such_pa"),
        ("faulty_models:brokn", "has no function 'brokn' (did you mean 'broken'?)"),
        ("faulty_models:number", "the module 'faulty_models' has no function 'number'"),
        ("faulty_models:broken", "cannot be used: ValueError: broken here"),
        ("faulty_models:nothing", "must return a torch.nn.Module, found NoneType"),
        ("faulty_models:untold", "must have an attribute 'features', the width of what it returns"),
        ("faulty_models:negative", "what it returns, found -1"),
        ("faulty_models:narrow", "must map 4 items to float32 (B, features) = (4, 9), found"),
        ("faulty_models:double", "found float64 (4, 8)"),
        ("faulty_models:tuples", "must return a tensor (B, features), found tuple"),
        ("faulty_models:infinite", "must return finite numbers"),
        ("faulty_models:raising", "cannot be used: RuntimeError: mat1 and mat2"),
        ("faulty_models:random", "must draw nothing at random while it is trained"),
        ("faulty_models:pair", "found 'linear.weight' and 'other.weight' to be the same"),
        ("faulty_models:never", "every lazy layer must be used, found 'other.weight' without"),
        ("faulty_models:complex", "its weights must be float32, found complex64 in 'w'"),
        ("faulty_models:doubled", "its weights must be float32, found float64 in 'linear.weight'"),
        ("faulty_models:expanded", "found one number in several places in 'b'"),
        ("faulty_models:endless", "must be finite, found NaN or infinity in 'linear.weight'"),
        ("faulty_models:unknown", "its state must be numbers, found NaN in 'low'"),
        ("faulty_models:numpy", "must begin with the same weights whenever it is built"),
        ("faulty_models:former", "cannot be used: RuntimeError: Only Tensors created explicitly"),
        ("faulty_models:in_place", "cannot be used: RuntimeError: one of the variables needed"),
        ("transformers:no-such-type", "must be a type of transformers, such as resnet"),
        ("transformers:t5", "cannot be used: "),
        ("transformers:bert", "reads text, but the data are image"),
        ("transformers:vit_mae", "must draw nothing at random"),
        ("transformers-pretrained:./nowhere", "there is no such folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_field_rule_and_value(spec: str, words: str):
    with pytest.raises(UserError) as caught:
        check_models([spec], TEXT if spec.endswith("t5") else SHAPE)
    assert str(caught.value).startswith(f"small.models: {spec}")
    assert words in str(caught.value)


def test_a_module_in_the_working_folder_is_found_and_normalisation_needs_no_second_item():
    check_models(["faulty_models:alone", "mlp"], SHAPE)


@pytest.mark.parametrize("name", ["lazy", "masked", "normed", "still", "static"])
def test_what_is_odd_but_sound_is_taken(name: str):
    check_models([f"faulty_models:{name}"], SHAPE)


def test_lazy_layers_get_the_weights_that_plain_ones_would_have():
    torch.manual_seed(3)
    model = build_backbone("faulty_models:lazy", SHAPE)
    assert model.training
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == {
        **{"1.weight": (8, 256), "1.bias": (8,)},
        **{f"2.{key}": (8,) for key in ("weight", "bias", "running_mean", "running_var")},
        "2.num_batches_tracked": (),
    }
    torch.manual_seed(3)
    plain = torch.nn.Linear(256, 8)
    assert torch.equal(model[1].weight, plain.weight)
    assert not model[2].running_mean.any() and int(model[2].num_batches_tracked) == 0


def test_what_a_model_raises_later_names_it_and_what_it_was_given():
    model = build_small("faulty_models:masked", SHAPE, dimension=4, seed=0)
    with pytest.raises(UserError, match=r"faulty_models:masked, given \(2, 1, 8, 8\), cannot be"):
        model(torch.zeros(2, 1, 8, 8))


def test_the_working_folder_comes_last_where_modules_are_looked_for(tmp_path: Path):
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('shadowed')\n")
    sys.modules.pop("colorsys", None)
    with pytest.raises(UserError, match="module 'colorsys' has no function 'f'"):
        build_backbone("colorsys:f", SHAPE)


@pytest.mark.parametrize("spec", ["timm:resnet18", "timm-pretrained:resnet18.a1_in1k"])
def test_a_missing_package_is_named_with_its_extra(spec: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=rf"{spec}.*pip install \"fedbridge\[timm\]\""):
        build_backbone(spec, SHAPE)


# -- of transformers


def test_a_type_gets_sizes_that_fit_the_inputs():
    for shape in ((1, 16, 16), (3, 32, 32)):
        config = build_backbone("transformers:vit", shape).model.config
        assert (config.num_channels, config.image_size) == (shape[0], shape[1])
        assert (config.patch_size, config.num_hidden_layers) == (shape[1] // 8, 2)
        assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.0
    config = build_backbone("transformers:roberta", TEXT).model.config
    assert (config.vocab_size, config.pad_token_id) == (8192, 0)


def test_a_folder_keeps_its_sizes_and_gets_new_weights(tmp_path: Path):
    import transformers

    save_vit(tmp_path / "vit", side=64)
    saved = transformers.ViTModel.from_pretrained(tmp_path / "vit", add_pooling_layer=False)
    model = build_backbone(f"transformers:{tmp_path / 'vit'}", SHAPE).model
    assert (model.config.hidden_size, model.config.patch_size, model.config.image_size) == (
        *(16, 4),
        16,
    )
    mine, theirs = (m.state_dict()["layers.0.mlp.fc1.weight"] for m in (model, saved))
    assert mine.shape == theirs.shape and not torch.equal(mine, theirs)


def test_pretrained_weights_are_the_folders_and_each_model_has_its_own(tmp_path: Path):
    import transformers

    save_vit(tmp_path / "vit", side=32)
    saved = transformers.ViTModel.from_pretrained(tmp_path / "vit", add_pooling_layer=False)
    one, other = (
        build_backbone(f"transformers-pretrained:{tmp_path / 'vit'}", (3, 32, 32)) for _ in "ab"
    )
    for key, value in saved.state_dict().items():
        assert torch.equal(one.model.state_dict()[key], value)
    with torch.no_grad():
        next(one.model.parameters()).add_(1.0)
    assert not torch.equal(next(one.model.parameters()), next(other.model.parameters()))
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():  # the processor's default: 0.5 and 0.5
        expected = saved((pictures - 0.5) / 0.5).last_hidden_state.transpose(1, 2)
    torch.testing.assert_close(other.eval().places(pictures).detach(), expected)


def test_a_pretrained_language_model_gets_a_new_table_of_tokens(tmp_path: Path):
    folder = save_long_bert(tmp_path / "long")
    model = build_backbone(f"transformers-pretrained:{folder}", TEXT).model
    assert tuple(model.get_input_embeddings().weight.shape) == (8192, 16)
    assert not model.get_input_embeddings().weight[0].any()
    state = model.state_dict()["encoder.layer.0.intermediate.dense.weight"]
    import transformers

    saved = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False)
    assert torch.equal(state, saved.state_dict()["encoder.layer.0.intermediate.dense.weight"])


def test_a_language_model_of_too_few_places_is_refused(tmp_path: Path):
    save_bert(tmp_path / "bert")  # 12 places
    with pytest.raises(UserError, match=r"transformers-pretrained:.* cannot be used: "):
        build_backbone(f"transformers-pretrained:{tmp_path / 'bert'}", TEXT)
