"""One client's answer to new items: by its small model, by the large side, or by both."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.data.own.lists import words_of
from fedbridge.data.readers.reading import Inputs
from fedbridge.inference.storage import CPU, PredictorParts, load_parts, save_parts
from fedbridge.models.calibration import Mixture
from fedbridge.models.fm.foundation import Items
from fedbridge.models.small.space import embed, stored

Using = Literal["small", "large", "together"]
USING: tuple[Using, ...] = get_args(Using)


@dataclass(frozen=True, eq=False)
class Predictor(PredictorParts):
    """Predicts which of the classes that a client has met an item is of.

    ``x`` is whatever ``reading`` reads; ``using`` is ``small``, ``large`` or ``together``, by
    default ``together`` where there is a large side. Methods raise UserError for wrong input.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes it knows, in the order of the columns."""
        return self.small.classes

    @property
    def usable(self) -> tuple[Using, ...]:
        """Return what ``using`` may be."""
        return USING if self.large is not None else ("small",)

    def predict(self, x: Any, using: Using | None = None) -> list[str]:
        """Return the name of the likeliest class for every item."""
        best = self._logits_of(x, using).argmax(1).tolist()
        return [self.classes[place] for place in best]

    def predict_proba(self, x: Any, using: Using | None = None) -> NDArray[np.float64]:
        """Return the probabilities of all classes, ``(n, C)``."""
        probabilities: NDArray[np.float64] = self._logits_of(x, using).softmax(1).cpu().numpy()
        return probabilities

    def score(self, x: Any, y: Sequence[object], using: Using | None = None) -> float:
        """Return the fraction of items whose predicted class is the one that ``y`` names."""
        found = self.predict(x, using)
        if len(y) != len(found):
            raise UserError(f"y: must name {len(found)} classes as x has items, found {len(y)}")
        names = words_of("y", y, len(found), ())
        return float(np.mean([one == other for one, other in zip(found, names, strict=True)]))

    def logits(self, inputs: Inputs, items: Items, using: Using | None = None) -> Tensor:
        """Return float64 logits ``(n, C)`` of what is stored of items for either side."""
        using = self.chosen(using)
        powers = {
            "small": Mixture(1.0, 0.0),
            "large": Mixture(0.0, self.sharpness),
            "together": self.mixture,
        }[using]
        nothing = torch.zeros(len(items), len(self.classes), device=self.device)
        small = nothing if using == "large" else self._small_scores(inputs)
        large = nothing if using == "small" else self._large_scores(items)
        return powers(small, large)

    def chosen(self, using: str | None) -> Using:
        """Return what to use; raise UserError if this predictor has no such thing."""
        usable = self.usable
        for known in usable:
            if using == known:
                return known
        if using is None:
            return usable[-1]
        raise UserError(f"using: must be {', '.join(usable)} here, found {using!r}")

    def save(self, folder: str | Path) -> None:
        """Write it into a folder, from which ``fedbridge.load`` gives it back."""
        save_parts(self, Path(folder))

    def only_small(self) -> Self:
        """Return the small model alone, which needs no foundation model."""
        return replace(self, large=None)

    def _logits_of(self, x: Any, using: Using | None) -> Tensor:
        self.chosen(using)
        return self.logits(*self.reading(x), using)

    def _small_scores(self, inputs: Inputs) -> Tensor:
        embedding = embed(self.small.embedder, stored(inputs).to(self.device))
        return self.small.score(embedding)

    def _large_scores(self, items: Items) -> Tensor:
        assert self.large is not None
        return self.large.scores(items, self.device)


def load_predictor(
    folder: Path, device: torch.device | None = None, trust: Collection[str] = ()
) -> Predictor:
    """Return the predictor in a folder, on the CPU by default.

    A model of it that is a function of one's own, whose module would be imported, must be named
    in ``trust``, as in ``["my_model:tiny", "callable:my_model:encode"]``. Raises UserError naming
    the file if one is not, or if the folder is damaged or something else. The foundation model
    that it names is neither needed nor looked for before the large side is asked.
    """
    return Predictor(**vars(load_parts(folder, device or CPU, trust)))
