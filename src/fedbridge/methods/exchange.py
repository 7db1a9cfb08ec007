"""How a small model travels: what of it is uploaded, and what becomes of what comes back."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from fedbridge.models.small.space import SmallModel
from fedbridge.wire import State


def model_itself(state: State, notes: State) -> State:
    """Upload the model as it is."""
    return state


def go_on(model: SmallModel, sent: State, notes: State) -> None:
    """Go on from the model that was sent."""
    model.load_state_dict(sent)


def state_of(model: nn.Module) -> State:
    """Return all of a model's parameters and buffers."""
    state: State = model.state_dict()
    return state


@dataclass(frozen=True)
class Exchange:
    """What a learner and a fusion that belong together send each other instead of a model.

    It is used where both name the same one, else the model itself travels.
    """

    to_upload: Callable[[State, State], State] = model_itself
    """What is uploaded, of the model's state and the learner's notes."""
    from_download: Callable[[SmallModel, State, State], None] = go_on
    """What becomes of what the fusion sends back: may change the model and the notes."""
    uploaded: Callable[[nn.Module], State] = state_of
    """Arrays of the names, shapes and types that are uploaded of a small model."""


WHOLE = Exchange()
"""The model as it is, both ways."""
