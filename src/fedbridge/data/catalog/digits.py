"""``digits``: the 1,797 handwritten digits that come with scikit-learn; nothing to download."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.store import Part
from fedbridge.data.spec import DataSource

SIDE = 16
LICENCE = "UCI handwritten digits, CC-BY 4.0 (as shipped with scikit-learn)"


def prepare(domains: tuple[str, ...], workspace: Path) -> Iterator[Part]:
    """Yield the one domain: pictures ``(1797, 1, 16, 16)``, every item its own group."""
    import sklearn
    from sklearn.datasets import load_digits

    digits = load_digits()
    pictures = np.stack([enlarge(picture) for picture in digits.images])[:, None]
    yield Part(
        domain="digits",
        items=pictures,
        inputs=pictures,
        labels=digits.target.astype(np.int64),
        groups=np.arange(len(pictures), dtype=np.int64),
        classes=tuple(f"digit-{digit}" for digit in range(10)),
        licences=(LICENCE,),
        sources=(f"scikit-learn {sklearn.__version__}: load_digits",),
    )


def enlarge(picture: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return an ``(8, 8)`` picture of values 0 to 16 as ``(16, 16)`` bytes, bilinearly."""
    from PIL import Image

    grey = Image.fromarray(np.rint(picture * (255 / 16)).astype(np.uint8))
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


DIGITS = DataSource(
    parts=prepare,
    summary="1,797 handwritten digits, 10 classes; ships with scikit-learn",
    domains=("digits",),
    licences=(LICENCE,),
)
