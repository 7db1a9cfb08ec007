"""Dead leaves: pictures of nothing, which still have edges, occlusion and every scale."""

import numpy as np
from numpy.typing import NDArray

LEAVES = 120
SMALLEST, LARGEST = 0.04, 0.5  # radius of a leaf, in sides of the picture
ROUND = 0.5  # fraction of leaves that are discs; the others have 3 to 6 corners


def dead_leaves(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return pictures ``(count, C, H, W)`` of leaves that fall on one another.

    Radii have a density proportional to ``r ** -3``, which makes statistics independent of scale;
    places, colours and turns are uniform. Such pictures can stand for natural ones in learning:
    Baradad et al., "Learning to See by Looking at Noise", NeurIPS 2021.
    """
    pictures = np.empty((count, *shape), np.uint8)
    for picture in pictures:
        picture[:] = _picture(shape, rng)
    return pictures


def _picture(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    channels, height, width = shape
    colours = rng.integers(0, 256, (LEAVES + 1, channels)).tolist()
    image = Image.new("L" if channels == 1 else "RGB", (width, height), _fill(colours[-1]))
    draw = ImageDraw.Draw(image)
    places = rng.random((LEAVES, 2)) * (width, height)
    # the inverse of the distribution function of the density r ** -3
    low, high = SMALLEST**-2, LARGEST**-2
    radii = (low - rng.random(LEAVES) * (low - high)) ** -0.5 * max(width, height)
    corners = np.where(rng.random(LEAVES) < ROUND, 0, rng.integers(3, 7, LEAVES))
    turns = rng.random(LEAVES) * 360.0
    for at in range(LEAVES):
        circle = (*places[at].tolist(), float(radii[at]))
        if corners[at]:
            draw.regular_polygon(circle, int(corners[at]), float(turns[at]), _fill(colours[at]))
        else:
            x, y, r = circle
            draw.ellipse((x - r, y - r, x + r, y + r), _fill(colours[at]))
    pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _fill(colour: list[int]) -> int | tuple[int, ...]:
    return colour[0] if len(colour) == 1 else tuple(colour)
