"""Write docs/reference/cli.md and config.md from the code: commands, settings and their defaults.

python scripts/reference.py
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import typer.main

from fedbridge.cli import app
from fedbridge.config import Config
from fedbridge.config.files import OPTIONS
from fedbridge.config.section import Section
from fedbridge.config.site import KINDS, SiteConfig
from fedbridge.files import write_text

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = "<!-- written by scripts/reference.py: make reference -->"
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
}
CLI = """\
# Command line

{written}

Every command tells the same about itself with `--help`. The exit code is 0, 2 after a mistake in
the input, and 130 after Ctrl-C. After the error comes a line that names the page that helps.

To have commands, files, runs and settings completed by the Tab key in bash, zsh or fish:

```bash
fedbridge --install-completion
```
"""
CONFIG = """\
# Settings

{written}

A config states what differs from the defaults. These are all settings, with their defaults; the
[guide](../guide.md#a-config-of-your-own) shows how a config is written, and one setting is changed
on the command line by `--set`:

```bash
fedbridge run configs/digits.toml --set learner.memory=5 --set 'small.models=["cnn", "mlp"]'
```

In TOML a list is written `[1, 2]`, and a text `"in quotes"`.
"""
SITES = """\
## A site's own file

The settings of `site.toml`, which never leaves its site, see [your data](../your-data.md).
"""


def main() -> None:
    """Write both pages."""
    for name, text in pages().items():
        path = ROOT / name
        write_text(path, text)


def pages() -> dict[str, str]:
    """Return the text of each page by its path in the repository."""
    command = typer.main.get_command(app)
    cli = [CLI.format(written=WRITTEN), *_commands("fedbridge", command, None)]
    config = [CONFIG.format(written=WRITTEN), *_settings(), SITES, *_site_settings()]
    return {
        "docs/reference/cli.md": "\n".join(cli),
        "docs/reference/config.md": "\n".join(config),
    }


# -- commands


def _commands(name: str, command: Any, parent: Any) -> Iterator[str]:
    """Yield the section of a command, then those of its own commands."""
    context = command.context_class(command, info_name=name, parent=parent)
    if parent is not None:
        usage = " ".join(command.collect_usage_pieces(context))
        title = context.command_path
        yield f"## {title}\n\n{_plain(command.help)}\n\n```text\n{title} {usage}\n```\n"
    helps = _helps(command)
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    rows = [_parameter(p, context, helps) for p in shown]
    if rows:
        yield _table(("argument or option", "what it is", "default"), rows)
    for key, own in getattr(command, "commands", {}).items():
        yield from _commands(key, own, context)


def _helps(command: Any) -> dict[str, str]:
    """Return what the command's function says of its parameters: click may lose an argument's."""
    if command.callback is None:
        return {}
    hints = get_type_hints(inspect.unwrap(command.callback), include_extras=True)
    notes = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {name: note[0].help or "" for name, note in notes.items() if note}


def _parameter(parameter: Any, context: Any, helps: dict[str, str]) -> tuple[str, str, str]:
    is_option = parameter.param_type_name == "option"
    name = ", ".join(parameter.opts) if is_option else parameter.make_metavar(context)
    default = parameter.get_default(context)
    is_flag = getattr(parameter, "is_flag", False)
    shown = "" if default in (None, ()) or is_flag else f"`{default}`"
    text = helps.get(parameter.name) or parameter.help or ""
    return _cell(f"`{name}`"), _cell(text), shown or ("required" * parameter.required)


def _plain(text: str | None) -> str:
    return "\n".join(line.strip() for line in (text or "").strip().splitlines())


# -- settings


def _settings() -> Iterator[str]:
    """Yield a table for each section of a config."""
    yield from _section("The experiment", "", Config)
    for key, field in Config.model_fields.items():
        section: Any = field.annotation
        variants = [(name, options) for (part, name), options in OPTIONS.items() if part == key]
        if variants:
            default = field.get_default().name
            yield f"## {key}\n\n`{key}.name` chooses one of these; `{default}` by default.\n"
            for name, options in variants:
                yield from _section(f"{key}: {name}", key, options, level=3)
        elif isinstance(section, type) and issubclass(section, Section):
            yield from _section(key, key, section)
            for inner, own in section.model_fields.items():
                if isinstance(own.annotation, type) and issubclass(own.annotation, Section):
                    yield from _section(f"{key}.{inner}", f"{key}.{inner}", own.annotation, level=3)


def _site_settings() -> Iterator[str]:
    yield from _section("site.toml", "", SiteConfig, level=3)
    for kind, section in KINDS.items():
        yield from _section(f"data.kind: {kind}", "data", section, level=3)


def _section(title: str, prefix: str, section: type[Section], level: int = 2) -> Iterator[str]:
    """Yield a heading, what the section is, and the table of its settings."""
    schema = section.model_json_schema()
    yield f"{'#' * level} {title}\n\n{_plain(section.__doc__)}\n"
    rows = [
        _setting(f"{prefix}.{key}" if prefix else key, value, key in schema.get("required", ()))
        for key, value in schema["properties"].items()
        if not _is_section(value)
    ]
    if rows:
        yield _table(("setting", "values", "default", "what it is"), rows)


def _is_section(value: dict[str, Any]) -> bool:
    return "$ref" in value or "discriminator" in value


def _setting(key: str, value: dict[str, Any], required: bool) -> tuple[str, str, str, str]:
    default = value.get("default")
    shown = "required" if required else "" if default is None else f"`{json.dumps(default)}`"
    return f"`{key}`", _values(value), shown, _cell(value.get("description", ""))


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
    if value["type"] == "array":
        return f"list of: {_values(value['items'])}"
    bounds = [f"{words} {value[key]:g}" for key, words in BOUNDS.items() if key in value]
    return " ".join([TYPES[value["type"]], " and ".join(bounds)]).strip()


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Return a text as it stands in a cell of a table: one line, plain code quotes."""
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
