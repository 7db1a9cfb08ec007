"""One experiment, complete: its settings, with those of the methods that it names."""

import difflib
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, SerializeAsAny, model_validator

from fedbridge.config import Settings
from fedbridge.config.models import Large
from fedbridge.config.section import Options, Section
from fedbridge.core.entries import is_own
from fedbridge.core.errors import UserError
from fedbridge.methods.analytic import Analytic
from fedbridge.methods.obod import OBOD
from fedbridge.methods.registry import (
    KEYS,
    METHODS,
    fusion_of,
    head_of,
    learner_of,
    method_of,
)
from fedbridge.methods.smcf import SMCF

DEFAULT_NAMES = {"learner": "smcf", "fusion": "obod", "large": "analytic"}


def options_of(part: str, tree: Any) -> Any:
    """Return the options that a part of a config states, validated as its method wants them.

    Raises ValueError, which a config's validation turns into an error, if there is no such method.
    """
    key = KEYS[part]
    stated = dict(tree) if isinstance(tree, Section) else tree
    if not isinstance(stated, dict):
        raise ValueError("must be a table of settings")
    unnamed = isinstance(tree, Section) and not stated.get(key)
    name = DEFAULT_NAMES[part] if unnamed else stated.get(key, DEFAULT_NAMES[part])
    if not isinstance(name, str) or (name not in METHODS[part] and not is_own(name)):
        raise ValueError(_unknown(part, name))
    try:
        options = method_of(part, name).options
    except UserError as error:
        raise ValueError(str(error)) from error
    return tree if isinstance(tree, options) else options.model_validate({**stated, key: name})


def _unknown(part: str, found: object) -> str:
    """Return the rule that a method breaks which is not there."""
    known = list(METHODS[part])
    close = difflib.get_close_matches(str(found), known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    rule = f"must be one of {', '.join(known)} or MODULE:NAME, found {found!r}{meant}"
    return f"{part}.{KEYS[part]}: {rule}"


LargeOptions = Annotated[
    SerializeAsAny[Large], BeforeValidator(lambda tree: options_of("large", tree))
]


class Config(Settings):
    """One experiment, complete."""

    large: LargeOptions = Analytic()
    learner: Annotated[
        SerializeAsAny[Options], BeforeValidator(lambda tree: options_of("learner", tree))
    ] = SMCF()
    fusion: Annotated[
        SerializeAsAny[Options], BeforeValidator(lambda tree: options_of("fusion", tree))
    ] = OBOD()

    @model_validator(mode="after")
    def _methods_agree(self) -> Self:
        """Ask all methods whether the other settings suit them."""
        for fault in (
            head_of(self).check(self.large, self),
            learner_of(self).check(self.learner, self),
            fusion_of(self).check(self.fusion, self),
        ):
            if fault:
                raise ValueError(fault)
        return self
