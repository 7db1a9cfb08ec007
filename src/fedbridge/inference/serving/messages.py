"""What the service is sent and what it answers; its OpenAPI schema is made of these."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from fedbridge.inference import Predictor, Using
from fedbridge.inference.serving.limits import Limits

Top = Annotated[int, Field(ge=1, le=1000, description="How many classes to name, at most.")]


class Guess(BaseModel):
    """A class and how likely it is."""

    label: str
    probability: float = Field(ge=0.0, le=1.0)


class Answers(BaseModel):
    """The likeliest classes of every item, the likeliest first."""

    using: Using
    predictions: list[list[Guess]]


class Health(BaseModel):
    """That the service answers, and with what."""

    status: str
    modality: str
    classes: list[str]
    usable: list[Using]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class Asked(BaseModel):
    """What both forms of a request have in common."""

    model_config = ConfigDict(extra="forbid")

    items: list[str]
    using: Using | None = None
    top: Top = 1


def using_of(predictor: Predictor) -> Any:
    """Return the type of ``using`` with what this predictor has."""
    usable: Any = Literal[predictor.usable]
    told = Field(description="Which models; by default all that there are.")
    return Annotated[usable | None, told]


def asked_of(predictor: Predictor, limits: Limits) -> type[Asked]:
    """Return the form of a request to this predictor, its limits written into it."""
    what, rules = "texts", Field(max_length=limits.letters, pattern=r"\S")
    if predictor.reading.modality == "image":
        what, rules = "pictures: files as base64", Field(min_length=1)
    item: Any = Annotated[str, rules]
    many = Field(min_length=1, max_length=limits.items, description=f"The {what}.")
    items: Any = Annotated[list[item], many]
    using = using_of(predictor)
    return create_model("Request", __base__=Asked, items=(items, ...), using=(using, None))
