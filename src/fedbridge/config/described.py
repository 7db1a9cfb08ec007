"""Settings in words: what each may be, what it is by default, and what it means."""

import json
from typing import Any, NamedTuple

from fedbridge.config.section import Section

BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
TYPES = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "nothing",
    "object": "table",
}


class Setting(NamedTuple):
    """One setting; words of code stand in backquotes."""

    key: str
    values: str
    default: str
    text: str


def settings_of(section: type[Section], prefix: str = "") -> list[Setting]:
    """Return the settings of a section by their keys, without sections within it."""
    schema = section.model_json_schema()
    required = schema.get("required", ())
    return [
        Setting(
            f"{prefix}.{key}" if prefix else key,
            _values(value),
            _default(value.get("default"), key in required),
            value.get("description", ""),
        )
        for key, value in schema.get("properties", {}).items()
        if not _is_section(value)
    ]


def _is_section(value: dict[str, Any]) -> bool:
    return "$ref" in value or "discriminator" in value


def _default(value: object, required: bool) -> str:
    return "required" if required else "" if value is None else f"`{json.dumps(value)}`"


def _values(value: dict[str, Any]) -> str:
    """Return in words which values a setting may have."""
    if "anyOf" in value:
        kinds = [_values(one) for one in value["anyOf"] if one.get("type") != "null"]
        return " or ".join(kinds)
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "enum" in value:
        return ", ".join(f"`{json.dumps(one)}`" for one in value["enum"])
    if "prefixItems" in value:
        return f"[{', '.join(map(_values, value['prefixItems']))}]"
    kind = value.get("type", "object")  # a section that may be there
    if kind == "array":
        return f"list of: {_values(value.get('items', {}))}"
    bounds = [f"{words} {value[key]:g}" for key, words in BOUNDS.items() if key in value]
    return " ".join([TYPES[kind], " and ".join(bounds)]).strip()
