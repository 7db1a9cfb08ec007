"""One experiment, complete: its settings, with those of the methods that it names."""

import difflib
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, SerializeAsAny, model_validator

from fedbridge.config import Settings
from fedbridge.config.section import Options
from fedbridge.entries import is_own
from fedbridge.errors import UserError
from fedbridge.methods.obod import OBOD
from fedbridge.methods.registry import METHODS, fusion_of, learner_of, method_of
from fedbridge.methods.smcf import SMCF

DEFAULT_NAMES = {"learner": "smcf", "fusion": "obod"}


def options_of(part: str, tree: Any) -> Any:
    """Return the options that a part of a config states, validated as its method wants them.

    Raises ValueError, which a config's validation turns into an error, if there is no such method.
    """
    if isinstance(tree, Options):
        tree = tree if tree.name else {"name": DEFAULT_NAMES[part]}
    name = tree.name if isinstance(tree, Options) else _name(part, tree)
    if name not in METHODS[part] and not is_own(name):
        raise ValueError(_unknown(part, name))
    try:
        options = method_of(part, name).options
    except UserError as error:
        raise ValueError(str(error)) from error
    return options.model_validate(tree if isinstance(tree, Options) else {**tree, "name": name})


def _name(part: str, tree: Any) -> str:
    if not isinstance(tree, dict):
        raise ValueError("must be a table of settings")
    name = tree.get("name", DEFAULT_NAMES[part])
    if not isinstance(name, str):
        raise ValueError(_unknown(part, name))
    return name


def _unknown(part: str, found: object) -> str:
    """Return the rule that a method breaks which is not there."""
    known = list(METHODS[part])
    close = difflib.get_close_matches(str(found), known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"{part}.name: must be one of {', '.join(known)} or MODULE:NAME, found {found!r}{meant}"


class Config(Settings):
    """One experiment, complete."""

    learner: Annotated[
        SerializeAsAny[Options], BeforeValidator(lambda tree: options_of("learner", tree))
    ] = SMCF()
    fusion: Annotated[
        SerializeAsAny[Options], BeforeValidator(lambda tree: options_of("fusion", tree))
    ] = OBOD()

    @model_validator(mode="after")
    def _methods_agree(self) -> Self:
        """Ask both methods whether the other settings suit them."""
        for fault in (
            learner_of(self).check(self.learner, self),
            fusion_of(self).check(self.fusion, self),
        ):
            if fault:
                raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _every_task_has_a_rank(self) -> Self:
        large, tasks = self.large, self.scenario.slots
        if large.head == "prototypes" and large.tuning == "lora" and large.tuning_size < tasks:
            raise ValueError(
                f"large.tuning_size: must be at least 1 for each of {tasks} tasks where large.head "
                f"is 'prototypes', found {large.tuning_size}"
            )
        return self
