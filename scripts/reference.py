"""Write from the code docs/reference and what the Tab key offers: commands, settings, defaults.

python scripts/reference.py
"""

import inspect
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import typer.main

from fedbridge.cli.listing import CATALOGUES
from fedbridge.cli.main import app
from fedbridge.config.described import settings_of
from fedbridge.config.models import Large
from fedbridge.config.section import Section
from fedbridge.config.site import KINDS, SiteConfig
from fedbridge.core.files import write_text
from fedbridge.methods.catalog import every_setting
from fedbridge.methods.config import Config
from fedbridge.methods.registry import KEYS, METHODS

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = "<!-- written by scripts/reference.py: make reference -->"
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
    """Write all of them."""
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
        "src/fedbridge/cli/settings.json": json.dumps(every_setting(), indent=1) + "\n",
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
        variants = [(name, method.options) for name, method in METHODS.get(key, {}).items()]
        if variants:
            default = getattr(field.get_default(), KEYS[key])
            yield f"## {key}\n\n`{key}.{KEYS[key]}` chooses one of these; `{default}` by default.\n"
            shared = Large.model_fields if key == "large" else {}
            if shared:
                yield from _section(f"{key}: every head", key, Large, level=3, left_out=[KEYS[key]])
            for name, options in variants:
                left_out = shared.keys() - {KEYS[key]}
                yield from _section(f"{key}: {name}", key, options, level=3, left_out=left_out)
                yield from _inner(key, options, level=4)
        elif isinstance(section, type) and issubclass(section, Section):
            yield from _section(key, key, section)
            yield from _inner(key, section, level=3)
            yield from _options_of_entries(key)


def _inner(key: str, section: type[Section], level: int) -> Iterator[str]:
    """Yield the sections within a section."""
    for name, own in section.model_fields.items():
        if isinstance(own.annotation, type) and issubclass(own.annotation, Section):
            yield from _section(f"{key}.{name}", f"{key}.{name}", own.annotation, level=level)


def _options_of_entries(part: str) -> Iterator[str]:
    """Yield a table for each of our data sets, scenarios and metrics that takes options."""
    for find in CATALOGUES.values():
        catalogue = find()
        for name, entry in catalogue.registry.items():
            options = getattr(entry, "options", None)
            if options is not None and catalogue.field.startswith(f"{part}."):
                yield from _section(f"{catalogue.field}: {name}", catalogue.place, options, level=3)


def _site_settings() -> Iterator[str]:
    yield from _section("site.toml", "", SiteConfig, level=3)
    for kind, section in KINDS.items():
        yield from _section(f"data.kind: {kind}", "data", section, level=3)


def _section(
    title: str,
    prefix: str,
    section: type[Section],
    level: int = 2,
    left_out: Collection[str] = (),
) -> Iterator[str]:
    """Yield a heading, what the section is, and the table of its settings."""
    yield f"{'#' * level} {title}\n\n{_plain(section.__doc__)}\n"
    rows = [
        (f"`{one.key}`", one.values, one.default, _cell(one.text))
        for one in settings_of(section, prefix)
        if one.key.rpartition(".")[2] not in left_out
    ]
    if rows:
        yield _table(("setting", "values", "default", "what it is"), rows)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Return a text as it stands in a cell of a table: one line, plain code quotes."""
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
