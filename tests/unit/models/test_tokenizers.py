"""Encoders with tokenizers of all kinds: a text is the same in any batch, however long."""

from pathlib import Path

import pytest
import torch

from fedbridge.models.fm.foundation import load_foundation
from fedbridge.models.fm.transformer import foundation_module

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "red", "apple", "sea", "sky"]
TEXTS = ["red apple", "", "sea sky red apple sea " * 3, "red sea " * 75, "sky"]


def save_tokenizer(folder: Path, **options) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=made, **options).save_pretrained(folder)


def save_gpt(folder: Path, places: int = 300, **options) -> str:
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 2}
    GPT2Model(GPT2Config(vocab_size=8, n_positions=places, **sizes)).save_pretrained(folder)
    save_tokenizer(folder, **options)
    return f"transformers:{folder}"


def save_roberta(folder: Path, places: int = 40, **options) -> str:
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=8, max_position_embeddings=places, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, pad_token_id=1, type_vocab_size=1,
    )  # fmt: skip
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    save_tokenizer(folder, bos_token="<s>", pad_token="<pad>", eos_token="</s>", **options)
    return f"transformers:{folder}"


KINDS = {
    "no special token": save_gpt,
    "an end, no padding": lambda f: save_gpt(f, eos_token="</s>"),
    "an unknown word alone": lambda f: save_gpt(f, unk_token="<unk>"),
    "padding on the left": lambda f: save_gpt(f, pad_token="<pad>", padding_side="left"),
    "few places": lambda f: save_gpt(f, places=20, unk_token="<unk>"),
    "roberta": save_roberta,
    "roberta, less than it has": lambda f: save_roberta(f, model_max_length=9),
}


@pytest.mark.parametrize("save", KINDS.values(), ids=KINDS)
def test_a_text_is_the_same_in_any_batch(save, tmp_path: Path):
    fm = load_foundation(save(tmp_path), "auto", torch.device("cpu"), "float32")
    together = fm.encode(TEXTS)
    alone = torch.cat([fm.encode([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert together.isfinite().all() and len(together.unique(dim=0)) == len(TEXTS)


@pytest.mark.parametrize(
    ("save", "longest"),
    [
        (lambda f: save_gpt(f, places=300), 256),
        (lambda f: save_gpt(f, places=20), 20),
        (lambda f: save_gpt(f, model_max_length=11), 11),
        (lambda f: save_roberta(f, places=130), 128),
        (lambda f: save_roberta(f, places=40, model_max_length=512), 38),
    ],
)
def test_a_text_is_cut_off_where_model_and_tokenizer_end(save, longest, tmp_path: Path):
    spec = save(tmp_path)
    module = foundation_module(spec, "auto", torch.device("cpu"))
    assert module.longest == longest
    assert module.read(["red " * 400])["input_ids"].shape == (1, longest)
    fm = load_foundation(spec, "auto", torch.device("cpu"), "float32")
    long, exact = fm.encode(["red " * 400, "red " * longest])
    torch.testing.assert_close(long, exact, atol=1e-6, rtol=0)


def test_a_sentence_transformer_is_cut_off_where_its_places_end(tmp_path: Path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    save_roberta(tmp_path / "body", places=40)
    body = Transformer(str(tmp_path / "body"))
    body.max_seq_length = 512
    made = SentenceTransformer(modules=[body, Pooling(16, "mean")], device="cpu")
    made.save(str(tmp_path / "made"))
    spec = f"sentence-transformers:{tmp_path / 'made'}"
    fm = load_foundation(spec, "auto", torch.device("cpu"), "float32")
    together = fm.encode(["red apple", "red sea " * 75, "red sea " * 19])
    torch.testing.assert_close(together[1], together[2], atol=1e-5, rtol=0)
    torch.testing.assert_close(together[0], fm.encode(["red apple"])[0], atol=1e-5, rtol=0)
