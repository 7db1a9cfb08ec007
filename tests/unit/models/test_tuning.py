"""An FM of which a part is trained: what it starts as, what it learns, what it leaves alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fedbridge.config import Large
from fedbridge.core.errors import UserError
from fedbridge.methods.files import parse_config
from fedbridge.methods.probe import Probe
from fedbridge.models.fm.foundation import Items, load_foundation
from fedbridge.models.fm.tuning import Tunable, lifted, require_tunable, tunable
from fedbridge.models.statistics import FeatureMap
from tiny_transformers import save_bert, save_vit

CPU = torch.device("cpu")
TEXTS = ["red apple", "green pear pear", "apple"]
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
ADAPTERS = ["lora", "dora", "ia3"]


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("vit", "bert")}
    return {"vit": save_vit(folders["vit"]), "bert": save_bert(folders["bert"])}


def settings(spec: str, tuning: str, size: int = 2) -> Probe:
    pool = {"pool": 3, "top_k": 2}
    return Probe(model=spec, size=16, tuning=tuning, tuning_size=size, **pool)


def items_for(kind: str) -> Items:
    return PICTURES if kind == "vit" else TEXTS


def made(spec: str, tuning: str, size: int = 2, seed: int = 0) -> Tunable:
    tunable.cache_clear()
    return tunable(settings(spec, tuning, size), CPU, seed)


def train(fm: Tunable, items: Items, steps: int = 3) -> None:
    optimiser = torch.optim.AdamW(fm.part.values(), lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        fm(items).square().mean().backward()
        optimiser.step()


@pytest.mark.parametrize("tuning", ADAPTERS)
@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_adapters_at_first_change_nothing(specs, kind, tuning):
    frozen = load_foundation(specs[kind], 16, CPU, "float32").encode(items_for(kind))
    found = made(specs[kind], tuning).encode(items_for(kind), 2)
    torch.testing.assert_close(found, frozen, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tuning", [*ADAPTERS, "prompt", "pool"])
@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_training_moves_embeddings_and_nothing_but_the_part(specs, kind, tuning):
    fm, items = made(specs[kind], tuning), items_for(kind)
    before, start = fm.encode(items, 2), {k: v.clone() for k, v in fm.module.state_dict().items()}
    train(fm, items)
    assert not torch.allclose(fm.encode(items, 2), before, atol=1e-3)
    moved = {k for k, v in fm.module.state_dict().items() if not torch.equal(v, start[k])}
    added = "ia3_" if tuning == "ia3" else "lora_"
    assert all(added in name for name in moved) and bool(moved) == (tuning in ADAPTERS)
    assert all(value.isfinite().all() for value in fm.state().values())


@pytest.mark.parametrize("tuning", [*ADAPTERS, "prompt", "pool"])
@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_a_state_brings_its_embeddings_back(specs, kind, tuning):
    fm, items = made(specs[kind], tuning), items_for(kind)
    fresh = fm.encode(items, 2)
    train(fm, items)
    trained, state = fm.encode(items, 2), fm.state()
    fm.load({})
    assert torch.equal(fm.encode(items, 2), fresh)
    fm.load(state)
    assert torch.equal(fm.encode(items, 2), trained)


@pytest.mark.parametrize("tuning", ["lora", "prompt", "pool"])
def test_the_seed_decides_the_start_and_no_global_generator_moves(specs, tuning):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one = made(specs["vit"], tuning).fresh
    assert torch.equal(torch.rand(2), expected)
    again, other = (made(specs["vit"], tuning, seed=seed).fresh for seed in (0, 1))
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def test_a_process_holds_one_fm(specs):
    tunable.cache_clear()
    one, again = (tunable(settings(specs["vit"], "lora"), CPU, 0) for _ in range(2))
    assert one is again


def test_matrices_have_their_rank_and_lie_beside_queries_and_values(specs):
    for kind, (query, value) in {"vit": ("q_proj", "v_proj"), "bert": ("query", "value")}.items():
        part = made(specs[kind], "lora", size=3).fresh
        assert len(part) == 2 * 2 * 2  # layers, maps, matrices
        assert {name.split(".lora_")[0].rpartition(".")[2] for name in part} == {query, value}
        assert {min(tensor.shape) for tensor in part.values()} == {3}


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_factors_are_ones_and_magnitudes_the_lengths_of_the_weights_columns(specs, kind):
    assert {tuple(v.unique().tolist()) for v in made(specs[kind], "ia3").fresh.values()} == {(1.0,)}
    fm = made(specs[kind], "dora")
    weights = {k: v for k, v in fm.module.named_parameters() if ".base_layer.weight" in k}
    lengths = {k: v for k, v in fm.fresh.items() if "magnitude" in k}
    assert len(weights) == len(lengths) == 2 * 2
    for weight, length in zip(weights.values(), lengths.values(), strict=True):
        torch.testing.assert_close(length, weight.detach().norm(dim=1))


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_tokens_are_so_many_and_do_not_change_the_dimension(specs, kind):
    fm = made(specs[kind], "prompt", size=3)
    assert {k: tuple(v.shape) for k, v in fm.fresh.items()} == {"tokens": (3, 16)}
    assert fm.encode(items_for(kind), 2).shape == (3, 16)


def test_padding_does_not_move_tokens_beside_words(specs):
    fm = made(specs["bert"], "prompt")
    alone = torch.cat([fm.encode([text], 1) for text in TEXTS])
    torch.testing.assert_close(fm.encode(TEXTS, 3), alone, rtol=1e-4, atol=1e-5)


def test_long_texts_leave_room_for_tokens(specs):
    fm = made(specs["bert"], "prompt", size=4)
    found = fm.encode(["red " * 30], 1)  # 12 places in all
    assert torch.equal(found, fm.encode(["red " * 20], 1))


def test_tokens_that_leave_no_room_for_a_word_are_refused(specs):
    with pytest.raises(UserError, match=r"tuning_size: .* leave 3 of the 12 .*found 10"):
        made(specs["bert"], "pool", size=5)


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_an_item_gets_the_prompts_whose_keys_are_most_like_it(specs, kind):
    items = items_for(kind)
    frozen = load_foundation(specs[kind], 16, CPU, "float32").encode(items)
    fm = made(specs[kind], "pool")
    assert {k: tuple(v.shape) for k, v in fm.fresh.items()} == {
        "keys": (3, 16),
        "prompts": (3, 2, 16),
    }
    units = torch.nn.functional.normalize(frozen, dim=1)
    others = torch.stack([units[0], units[1], -units[0]])
    fm.load({**fm.fresh, "keys": 5.0 * others})
    fm.encode(items[:1], 1)
    # its own key is like it, and of the other two the second is the nearer one
    expected = 0.1 * (1.0 - float(units[0] @ units[1]))  # by large.attract
    assert float(torch.as_tensor(fm.strain()).detach()) == pytest.approx(expected, abs=1e-5)
    before = fm.encode(items[:1], 1)
    prompts = fm.fresh["prompts"].clone()
    prompts[2] *= -1.0  # one that it does not get
    fm.load({"keys": 5.0 * others, "prompts": prompts})
    assert torch.equal(fm.encode(items[:1], 1), before)
    prompts[1] *= -1.0
    fm.load({"keys": 5.0 * others, "prompts": prompts})
    assert not torch.allclose(fm.encode(items[:1], 1), before)


def test_keys_are_drawn_to_what_they_were_chosen_for(specs):
    fm = made(specs["vit"], "pool")
    fm(PICTURES)
    assert isinstance(fm.strain(), torch.Tensor)
    before = torch.as_tensor(fm.strain()).item()
    optimiser = torch.optim.AdamW([fm.part["keys"]], lr=0.05)
    for _ in range(5):
        optimiser.zero_grad()
        fm(PICTURES)
        fm.strain().backward()
        optimiser.step()
    fm(PICTURES)
    assert torch.as_tensor(fm.strain()).item() < before
    assert made(specs["vit"], "lora").strain() == 0.0


def test_the_lift_is_the_same_for_tensors():
    rng = np.random.default_rng(0)
    public = rng.standard_normal((20, 5)).astype(np.float32)
    for units in (0, 7):
        lift = FeatureMap.fit(public, units, 0)
        x = torch.from_numpy(public).requires_grad_()
        found = lifted(lift, x)
        torch.testing.assert_close(found.detach(), torch.from_numpy(lift(public)))
        found.sum().backward()
        assert x.grad is not None and bool(x.grad.any())


@pytest.mark.parametrize("model", ["patches", "lite0", "onnx:model.onnx", "callable:m:f"])
def test_other_models_are_refused_by_name(model):
    with pytest.raises(UserError, match=r"large.tuning: 'lora' needs large.model to be minilm"):
        require_tunable(settings(model, "lora"))
    require_tunable(Large(model=model))


def test_a_missing_package_is_named(specs, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(UserError, match=r"large.tuning 'lora' needs .*fedbridge\[peft\]"):
        require_tunable(settings(specs["vit"], "lora"))
    require_tunable(settings(specs["vit"], "prompt"))


def test_models_without_such_parts_are_refused(tmp_path: Path):
    import transformers

    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic"
    )
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    for tuning in (*ADAPTERS, "prompt", "pool"):
        with pytest.raises(UserError, match=f"transformers:{tmp_path} cannot be used"):
            made(f"transformers:{tmp_path}", tuning)


def test_tokens_need_a_sequence_of_patches(tmp_path: Path):
    import transformers

    torch.manual_seed(0)
    config = transformers.SwinConfig(
        image_size=16, patch_size=2, embed_dim=8, depths=[1], num_heads=[2], window_size=4
    )
    transformers.SwinModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"'pool' need an FM that reads a sequence of patches"):
        made(f"transformers:{tmp_path}", "prompt").encode(PICTURES, 3)


def test_tuning_is_for_heads_that_are_trained():
    owners = "'probe' or 'prototypes' or 'tail-anchors'"
    with pytest.raises(UserError, match=rf"large\.tuning: belongs to large\.head = {owners}$"):
        parse_config({"large": {"tuning": "lora"}}, "test")
    with pytest.raises(UserError, match=r"large\.tuning: .*'none' or 'pool', found 'lora'"):
        parse_config({"large": {"head": "tail-anchors", "tuning": "lora"}}, "test")
    with pytest.raises(UserError, match=r"large\.top_k: must be at most large\.pool, 10, found 11"):
        parse_config({"large": {"head": "probe", "top_k": 11}}, "test")
