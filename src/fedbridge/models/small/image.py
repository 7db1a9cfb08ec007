"""Small models for pictures: backbones from ``(B, C, S, S)`` in [0, 1] to features ``(B, F)``.

None of them has dropout: randomness belongs to a place in the experiment, not to a layer.
All end in the same readout, which keeps where in the picture something was seen; averaging
over the picture instead cost the transformer ten points on glyphs.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from fedbridge.models import import_extra

FEATURES = 128


class Plain(nn.Module):
    """Layers in sequence, and the number of features they end in."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.features = FEATURES
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, C, S, S)`` to ``(B, F)``."""
        features: Tensor = self.layers(channels_last(images))
        return features


def channels_last(images: Tensor) -> Tensor:
    """Return the same ``(B, C, H, W)`` with channels innermost in memory: faster convolutions.

    The strides are spelled out because with one channel torch takes either layout for the other.
    """
    b, c, h, w = images.shape
    strides = (c * h * w, 1, w * c, c)
    layout = torch.empty_strided((b, c, h, w), strides, dtype=images.dtype, device=images.device)
    return layout.copy_(images)


def normed(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Return convolution and BatchNorm: ``(B, inputs, S, S)`` to ``(B, outputs, S', S')``."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Return convolution, BatchNorm and ReLU: ``(B, inputs, S, S)`` to ``(B, outputs, S', S')``."""
    return nn.Sequential(*normed(inputs, outputs, stride, kernel), nn.ReLU(inplace=True))


def pooled(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """Return a convolution with pooling: ``(B, inputs, S, S)`` to ``(B, outputs, S / 2, S / 2)``.

    The maximum comes before the ReLU, which gives the same for a quarter of the ReLU's work.
    """
    return normed(inputs, outputs), nn.Sequential(nn.MaxPool2d(2), nn.ReLU(inplace=True))


def readout(width: int, places: int) -> nn.Module:
    """Return the common last layer: ``(B, width, ...)`` over some places to ``(B, F)``."""
    return nn.Sequential(nn.Flatten(), nn.Linear(width * places, FEATURES), nn.ReLU())


def mlp(shape: tuple[int, ...]) -> Plain:
    """Return two fully connected layers on the pixels ``(C, S, S)``."""
    channels, side, _ = shape
    return Plain(
        nn.Flatten(),
        nn.Linear(channels * side**2, 256, bias=False),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        readout(256, 1),
    )


def cnn(shape: tuple[int, ...], width: int = 16) -> Plain:
    """Return three convolutions with pooling, from ``(C, S, S)``."""
    channels, side, _ = shape
    return Plain(
        *pooled(channels, width),
        *pooled(width, 2 * width),
        *pooled(2 * width, 4 * width),
        readout(4 * width, (side // 8) ** 2),
    )


def cnn_wide(shape: tuple[int, ...]) -> Plain:
    """Return ``cnn`` with half as many channels again."""
    return cnn(shape, width=24)


class Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al., CVPR 2016, arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = conv(inputs, outputs, stride=2)
        self.second = normed(outputs, outputs)
        self.shortcut = normed(inputs, outputs, stride=2, kernel=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, inputs, S, S)`` to ``(B, outputs, S / 2, S / 2)``."""
        return torch.relu(self.second(self.first(images)) + self.shortcut(images))


def resnet(shape: tuple[int, ...]) -> Plain:
    """Return two residual blocks behind a convolution with pooling."""
    channels, side, _ = shape
    return Plain(
        *pooled(channels, 16),
        *(Residual(16, 32), Residual(32, 64)),
        readout(64, (side // 8) ** 2),
    )


def mobile(shape: tuple[int, ...]) -> Plain:
    """Return depthwise separable convolutions (MobileNet, arXiv 1704.04861).

    Without the ReLU between the two halves, as in Xception (arXiv 1610.02357): 2 points better.
    """

    def separable(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            conv(inputs, outputs, kernel=1),
        )

    channels, side, _ = shape
    return Plain(
        conv(channels, 24, stride=2),
        *(separable(24, 48, 1), separable(48, 96, 2), separable(96, 128, 2)),
        readout(128, (side // 8) ** 2),
    )


def stem(channels: int, side: int, width: int) -> nn.Module:
    """Return stride-2 convolutions that leave 4 x 4 tokens: ``(B, width, 4, 4)``.

    Convolutions in front of a transformer make it learn from far fewer pictures
    (Xiao et al., NeurIPS 2021, arXiv 2106.14881).
    """
    halvings = (side // 4).bit_length() - 1
    widths = [channels, *(24 * 2**step for step in range(halvings - 1)), width]
    return nn.Sequential(*(conv(inputs, outputs, stride=2) for inputs, outputs in pairwise(widths)))


class Mixing(nn.Module):
    """One MLP across the tokens and one across the channels (MLP-Mixer, arXiv 2105.01601)."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm_tokens, self.norm_channels = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, tokens), nn.GELU(), nn.Linear(tokens, tokens))
        self.channels = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, states: Tensor) -> Tensor:
        """Map ``(B, tokens, width)`` to the same shape."""
        turned: Tensor = self.norm_tokens(states).transpose(1, 2)
        states = states + self.tokens(turned).transpose(1, 2)
        mixed: Tensor = states + self.channels(self.norm_channels(states))
        return mixed


def mixer(shape: tuple[int, ...], width: int = 64, depth: int = 2) -> Plain:
    """Return an MLP-Mixer on 4 x 4 tokens of a convolutional stem."""
    return Plain(
        stem(shape[0], shape[1], width),
        Tokens(),
        *(Mixing(16, width) for _ in range(depth)),
        nn.LayerNorm(width),
        readout(width, 16),
    )


class Tokens(nn.Module):
    """A map of features read as a sequence: ``(B, width, H, W)`` to ``(B, H * W, width)``."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the places as tokens, row by row."""
        return images.flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """A pre-norm transformer (ViT, arXiv 2010.11929) of the ``transformers`` package."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        library = import_extra("transformers", "transformers", "the small model 'vit'")
        config = library.ViTConfig(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=4,
            intermediate_size=2 * width,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            image_size=4,
            patch_size=1,
            num_channels=width,
        )
        self.model = library.ViTModel(config, add_pooling_layer=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, width, 4, 4)`` to ``(B, 16, width)``; the class token is left out."""
        states: Tensor = self.model(images).last_hidden_state
        return states[:, 1:]


def vit(shape: tuple[int, ...], width: int = 64, depth: int = 2) -> Plain:
    """Return a small ViT on 4 x 4 tokens of a convolutional stem."""
    return Plain(stem(shape[0], shape[1], width), Encoder(width, depth), readout(width, 16))
