"""What every section of the configuration is made of."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

Positive = Annotated[int, Field(ge=1)]
Batch = Annotated[int, Field(ge=2)]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Scale = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]


def _ascending(levels: tuple[float, float]) -> tuple[float, float]:
    if not levels[0] < levels[1]:
        raise ValueError("must be the value that is black and a larger one that is white")
    return levels


Levels = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_ascending)] | None


class Section(BaseModel):
    """A part of the configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Options(Section):
    """What a learner or a fusion can be told: a method's own settings are a class of this kind."""

    name: str = ""
    """The method, as a config names it: one of ours, or somebody's own as ``MODULE:NAME``."""
