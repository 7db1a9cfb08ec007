"""Models as users bring them, in every spelling that needs no network: tiny, and quickly made."""

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from tiny_transformers import WORDS, save_bert, save_vit

OWN = """
import math
import torch
from torch import nn


def tiny(shape):
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 64), nn.ReLU())
    net.features = 64
    return net


class Words(nn.Module):
    features = 24

    def __init__(self, shape):
        super().__init__()
        self.table = nn.EmbeddingBag(8192, 24, padding_idx=0)

    def forward(self, ids):
        return self.table(ids)


def colours(pictures):
    return pictures.mean((2, 3))


def lengths(texts):
    return torch.tensor([[len(text), text.count("e")] for text in texts])
"""


def small_models(folder: Path) -> dict[str, str]:
    """Return small models by what they are; a name with "text" reads texts."""
    own_module(folder)
    save_vit(folder / "vit", side=32)
    save_bert(folder / "bert")
    return {
        "own": "brought_own:tiny",
        "own-text": "brought_own:Words",
        "type-resnet": "transformers:resnet",
        "type-vit": "transformers:vit",
        "type-convnext": "transformers:convnext",
        "type-text-bert": "transformers:bert",
        "type-text-gpt2": "transformers:gpt2",
        "folder": f"transformers:{folder / 'vit'}",
        "folder-text": f"transformers:{folder / 'bert'}",
        "pretrained": f"transformers-pretrained:{folder / 'vit'}",
        "pretrained-text": f"transformers-pretrained:{save_long_bert(folder / 'long')}",
    }


def foundation_models(folder: Path) -> dict[str, str]:
    """Return FMs by what they are; a name with "text" reads texts."""
    own_module(folder)
    return {
        "transformers": save_vit(folder / "large-vit", side=32),
        "transformers-text": save_bert(folder / "large-bert"),
        "sentences-text": save_sentences(folder),
        "onnx": save_graph(folder / "pictures.onnx"),
        "onnx-text": save_text_graph(folder / "texts" / "texts.onnx"),
        "own": "callable:brought_own:colours",
        "own-text": "callable:brought_own:lengths",
    }


def own_module(folder: Path) -> None:
    (folder / "brought_own.py").write_text(OWN, encoding="utf-8")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    sys.modules.pop("brought_own", None)


def save_long_bert(folder: Path) -> Path:
    """Save a BERT that reads as many tokens as small models do."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=96,
    )  # fmt: skip
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def save_sentences(folder: Path) -> str:
    """Save a model that takes the first token's state and makes it of length one."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    save_bert(folder / "body")
    parts = [Transformer(str(folder / "body")), Pooling(16, "cls"), Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder / "sentences"))
    return f"sentence-transformers:{folder / 'sentences'}"


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def save_graph(path: Path, side: int | str = "s") -> str:
    """Save a 1 x 1 convolution from 3 to 5 channels."""
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])], "pictures",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5, side, side])],
        [numpy_helper.from_array(noise(5, 3, 1, 1), "w")],
    )  # fmt: skip
    return saved(graph, path)


def save_text_graph(path: Path, pooled: bool = False, inputs: tuple[str, ...] = ()) -> str:
    """Save a table of six numbers for each of eight words, and the tokenizer beside it."""
    names = inputs or ("input_ids", "attention_mask")
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["states"])]
    if pooled:
        nodes.append(helper.make_node("ReduceMax", ["states"], ["top"], axes=[1], keepdims=0))
    out = ("top", ["n", 6]) if pooled else ("states", ["n", "l", 6])
    graph = helper.make_graph(
        nodes, "texts",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "l"]) for name in names],
        [helper.make_tensor_value_info(out[0], TensorProto.FLOAT, out[1])],
        [numpy_helper.from_array(noise(len(WORDS), 6), "table")],
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer().save(str(path.parent / "tokenizer.json"))
    return saved(graph, path)


def tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = {word: place for place, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def saved(graph: onnx.GraphProto, path: Path) -> str:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    onnx.save(model, path)
    return f"onnx:{path}"
