"""Small models for texts: backbones from token ids ``(B, L)``, 0 = padding, to ``(B, F)``."""

import torch
from torch import Tensor, nn

from fedbridge.core.tokens import LENGTH, VOCABULARY
from fedbridge.models import import_extra

FEATURES = 128


def embedding(width: int) -> nn.Embedding:
    """Return a table from token ids to vectors of length about 1, padding to zero."""
    table = nn.Embedding(VOCABULARY, width, padding_idx=0)
    with torch.no_grad():
        table.weight.mul_(width**-0.5)
    return table


def readout(width: int) -> nn.Module:
    """Return the common last layer: ``(B, width)`` to ``(B, F)``."""
    return nn.Sequential(nn.Linear(width, FEATURES), nn.ReLU())


class Bag(nn.Module):
    """A weighted mean of token vectors and an MLP (after fastText, arXiv 1607.01759)."""

    def __init__(self, shape: tuple[int, ...], width: int = 128) -> None:
        super().__init__()
        self.features = FEATURES
        self.table = embedding(width)
        self.weight = nn.Embedding(VOCABULARY, 1)  # how much a token has to say
        nn.init.zeros_(self.weight.weight)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), readout(width))

    def forward(self, ids: Tensor) -> Tensor:
        """Map ``(B, L)`` to ``(B, F)``; a text without tokens is a zero vector to the MLP."""
        share = self.weight(ids).exp() * (ids != 0).unsqueeze(-1)
        mean = (self.table(ids) * share).sum(1) / share.sum(1).clamp(min=1e-6)
        features: Tensor = self.mlp(mean * mean.shape[1] ** 0.5)
        return features


class TextCNN(nn.Module):
    """Convolutions of several widths and the maximum over places (Kim, arXiv 1408.5882)."""

    def __init__(self, shape: tuple[int, ...], width: int = 64, channels: int = 64) -> None:
        super().__init__()
        self.features = FEATURES
        self.table = embedding(width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, channels, kernel, padding=kernel // 2) for kernel in (1, 3, 5)
        )
        self.readout = readout(3 * channels)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ``(B, L)`` to ``(B, F)``; padding wins no maximum."""
        ids = trimmed(ids)
        padding = (ids == 0).unsqueeze(1)
        states = self.table(ids).transpose(1, 2)
        peaks = [
            convolution(states).masked_fill(padding, -torch.inf).amax(2)
            for convolution in self.convolutions
        ]
        # the ReLU also makes zeros of a text without tokens
        features: Tensor = self.readout(torch.relu(torch.cat(peaks, 1)))
        return features


class GRU(nn.Module):
    """Gated recurrent units (Cho et al., arXiv 1406.1078), read in one direction."""

    def __init__(self, shape: tuple[int, ...], width: int = 128) -> None:
        super().__init__()
        self.features = FEATURES
        self.table = embedding(width)
        self.units = nn.GRU(width, width, batch_first=True)
        self.readout = readout(width)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ``(B, L)`` to ``(B, F)``: the mean state over a text's tokens."""
        ids = trimmed(ids)
        states, _ = self.units(self.table(ids))
        features: Tensor = self.readout(masked_mean(states, ids != 0))
        return features


class TinyBert(nn.Module):
    """A BERT (arXiv 1810.04805) of two layers, from ``transformers``."""

    def __init__(self, shape: tuple[int, ...], width: int = 64, depth: int = 2) -> None:
        super().__init__()
        library = import_extra("transformers", "transformers", "the small model 'tiny-bert'")
        self.features = FEATURES
        config = library.BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=4,
            intermediate_size=2 * width,
            max_position_embeddings=LENGTH,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.encoder = library.BertModel(config, add_pooling_layer=False)
        self.readout = readout(width)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ``(B, L)`` to ``(B, F)``: the mean state over a text's tokens."""
        ids = trimmed(ids)
        mask = ids != 0
        states = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        features: Tensor = self.readout(masked_mean(states, mask))
        return features


def trimmed(ids: Tensor) -> Tensor:
    """Cut off the columns of ``(B, L)`` that are padding in every row, but keep one.

    In a graph that is exported they stay: how many there are would become a constant in it.
    """
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if torch.compiler.is_exporting() or tracing:
        return ids
    longest = int((ids != 0).sum(1).amax()) if len(ids) else 0
    return ids[:, : max(longest, 1)]


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean ``(B, W)`` of states ``(B, L, W)`` where the mask ``(B, L)`` is true."""
    weight = mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1.0)
