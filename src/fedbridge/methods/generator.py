"""A small network from noise to pictures, and what normalisation layers remember of real ones."""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedbridge.models.small.image import channels_last
from fedbridge.models.small.space import SmallModel

NOISE = 64
WIDTH = 32


class Generator(nn.Module):
    """A linear layer and two upsampling convolutions: ``(B, NOISE)`` to ``(B, C, S, S)``."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, side, _ = shape
        self.quarter = side // 4
        self.seedling = nn.Linear(NOISE, WIDTH * self.quarter**2)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(WIDTH),
            *_doubled(WIDTH, WIDTH),
            *_doubled(WIDTH, WIDTH // 2),
            nn.Conv2d(WIDTH // 2, channels, 3, padding=1),
            nn.Sigmoid(),
        )

    @classmethod
    def seeded(cls, shape: tuple[int, ...], seed: int) -> Self:
        """Build one for pictures ``(C, S, S)``, initialised from the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(shape)

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise ``(B, NOISE)`` to pictures ``(B, C, S, S)`` in [0, 1]."""
        small = self.seedling(noise).unflatten(1, (WIDTH, self.quarter, self.quarter))
        pictures: Tensor = self.layers(channels_last(small))
        return pictures


def _doubled(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Upsample(scale_factor=2),
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.2, inplace=True),
    )


class Statistics:
    """Notes how far what models read is from what their BatchNorm layers have recorded.

    The norms of both differences, of means and of variances (DeepInversion, CVPR 2020, eq. 4);
    their mean over layers, so that it depends little on the architecture.
    """

    def __init__(self, models: list[SmallModel]) -> None:
        self._gaps: list[Tensor] = []
        for model in models:
            for layer in model.modules():
                # one without running statistics has recorded nothing
                if isinstance(layer, _BatchNorm) and layer.running_mean is not None:
                    layer.register_forward_pre_hook(self._note)

    def taken(self) -> Tensor:
        """Return the mean gap since the last call, 0 without such layers, and forget it."""
        gaps, self._gaps[:] = list(self._gaps), []
        return torch.stack(gaps).mean() if gaps else torch.zeros(())

    def _note(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0]
        places = [0, *range(2, x.dim())]
        mean, variance = x.mean(places), x.var(places, unbiased=False)
        gap = (mean - layer.running_mean).norm() + (variance - layer.running_var).norm()
        self._gaps.append(gap)
