"""Options of what is not ours to know: kept as a config gives them, checked once it is loaded."""

import difflib
from typing import Any

from pydantic import ConfigDict, ValidationError

from fedbridge.config.section import Section
from fedbridge.core.errors import UserError

LONGEST = 200
"""Most letters of a value that are shown."""


class FreeOptions(Section):
    """Options of a data set or a scenario, as that says them: ``fedbridge list MODULE:NAME``."""

    model_config = ConfigDict(extra="allow")


def checked_options(
    kind: type[Section] | None, given: FreeOptions | None, field: str, of: str
) -> Any:
    """Return the options of ``of``, whose section is ``kind``; None where it takes none.

    Raises UserError, naming the key below ``field`` and the rule, if they are not as it says.
    """
    tree = (given.model_extra or {}) if given is not None else {}
    if kind is None:
        if tree:
            raise UserError(f"{field}: {of} takes no options, found {', '.join(sorted(tree))}")
        return None
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        lines = [_explained(dict(item), kind, field) for item in error.errors()]
        raise UserError("; ".join(lines)) from error


def _explained(item: dict[str, Any], kind: type[Section], field: str) -> str:
    key = ".".join(map(str, (field, *item["loc"])))
    if item["type"] == "extra_forbidden":
        known = sorted(kind.model_fields)
        close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        told = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
        return f"{key}: unknown key ({told})"
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{key}: must be given"
    return f"{key}: {message}, found {item['input']!r:.{LONGEST}}"
