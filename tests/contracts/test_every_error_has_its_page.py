"""A mistake in whatever a user writes leads to the heading that explains it, never to none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import tomli_w
from pydantic import BaseModel

from fedbridge.bench.suite import Suite, SuiteMethod, SuiteScenario, load_suite
from fedbridge.cli.guidance import page_for
from fedbridge.config import load_site
from fedbridge.config.site import KINDS, SiteConfig
from fedbridge.core.errors import UserError
from fedbridge.data.own.arrays import from_arrays
from fedbridge.deploy.settings import ClientSettings, ServerSettings, read_env
from fedbridge.methods.config import Config
from fedbridge.methods.files import load_config

WRONG: tuple[Any, ...] = ({}, -7, "\x00", [], [[1]])
REFUSED = "a-setting-is-refused"
DEPTH = "pictures-of-unknown-depth"
OF_SECTION = {  # what explains a section's settings beside the heading on settings
    "data.own": {"your-own-data-do-not-fit", "a-table-is-not-read-as-meant", DEPTH},
    "data.public_own": {"the-public-set", "a-table-is-not-read-as-meant", DEPTH},
    "data.hub": {"columns-of-a-hub-data-set", DEPTH},
    "data": {"the-data-set-is-unknown", "the-public-set", "a-label-or-a-value-is-wrong"},
    "scenario": {"who-is-there-when", "too-few-classes"},
    "small": {"a-small-model-does-not-fit"},
    "large": {"the-foundation-model-does-not-fit", "tuning-the-foundation-model"},
    "engine": {"no-gpu", "a-worker-process-died", "flowers-simulation-does-not-start"},
}


def sections(model: type[BaseModel], key: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield every section of settings with the keys of its fields."""
    own = []
    for name, field in model.model_fields.items():
        kinds = [one for one in (field.annotation, *get_args(field.annotation)) if is_section(one)]
        for kind in kinds:
            yield from sections(kind, f"{key}.{name}".strip("."))
        own += [] if kinds else [f"{key}.{name}".strip(".")]
    yield key, own


def is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def headings(reads: Any, path: Path, trees: list[dict[str, Any]]) -> set[str]:
    """Return the headings that the mistakes in some trees lead to, of which all are refused."""
    found = set()
    for tree in trees:
        path.write_text(tomli_w.dumps(tree), encoding="utf-8")
        try:
            reads(path)
        except UserError as error:
            found.add(page_for(str(error)).partition("#")[2])
    return found


@pytest.mark.parametrize(("section", "keys"), sections(Config), ids=lambda value: str(value)[:30])
def test_of_every_section_of_a_config(section: str, keys: list[str], tmp_path: Path):
    trees = [nested(key, value) for key in keys for value in WRONG]
    trees.append(nested(f"{section}.no_such_key".strip("."), 1))
    trees += [nested(section, wrong) for wrong in (3, [3]) if section]
    fitting = {REFUSED, *OF_SECTION.get(section, ())}
    found = headings(load_config, tmp_path / "mine.toml", trees)
    assert found and found <= fitting


@pytest.mark.parametrize("kind", KINDS)
def test_of_every_kind_of_a_sites_file(kind: str, tmp_path: Path):
    rest: dict[str, Any] = {"client": "a"}
    data = {"kind": kind} | ({"path": "x"} if "path" in KINDS[kind].model_fields else {})
    fields = [*KINDS[kind].model_fields, "no_such_key"]
    trees = [rest | {"data": data | {name: wrong}} for name in fields for wrong in WRONG]
    fitting = {"a-sites-own-file"} | ({"a-sites-database"} if kind == "sql" else set())
    assert headings(load_site, tmp_path / "site.toml", trees) <= fitting


def test_of_a_sites_file_as_a_whole(tmp_path: Path):
    fields = [*SiteConfig.model_fields, "no_such_key"]
    trees: list[dict[str, Any]] = [
        {"client": "a", name: wrong} for name in fields for wrong in WRONG
    ]
    trees += [{}, {"client": "a", "data": {"kind": "images", "path": "../x"}}]
    assert headings(load_site, tmp_path / "site.toml", trees) == {"a-sites-own-file"}


def test_of_a_suite(tmp_path: Path):
    whole = {"scenario": [{"name": "s", "config": "c.toml"}], "method": [{"name": "m"}]}
    trees: list[dict[str, Any]] = [{}, whole | {"no_such_key": 1}]
    trees += [whole | {name: wrong} for name in Suite.model_fields for wrong in WRONG]
    for entry, section in (("scenario", SuiteScenario), ("method", SuiteMethod)):
        for name in [*section.model_fields, "no_such_key"]:
            trees += [whole | {entry: [{**whole[entry][0], name: wrong}]} for wrong in WRONG]
    assert headings(load_suite, tmp_path / "suite.toml", trees) == {"suites"}


@pytest.mark.parametrize(
    ("name", "kind", "lines"),
    [
        ("server.env", ServerSettings, ("HOSTS=", "PORT=0", "PORT=x", "NO=1", "loose")),
        ("client.env", ClientSettings, ("RUNTIME_PORT=-1", "NO=1", "loose", "CLIENT=a")),
    ],
)
def test_of_a_deployments_settings(name: str, kind: Any, lines: tuple[str, ...], tmp_path: Path):
    for line in lines:
        (tmp_path / name).write_text(f"{line}\n", encoding="utf-8")
        with pytest.raises(UserError) as found:
            read_env(tmp_path / name, kind)
        assert page_for(str(found.value)).endswith("#settings-of-a-deployment"), found.value


@pytest.mark.parametrize(("items", "labels"), [(3, [0]), ([[1.0]] * 4, [0, 1]), (["a"], [0])])
def test_of_own_arrays(items: Any, labels: Any):
    with pytest.raises(UserError) as found:
        from_arrays(items, labels)
    page = page_for(str(found.value)).partition("#")[2]
    assert page in ("your-own-data-do-not-fit", "a-label-or-a-value-is-wrong"), found.value


@pytest.mark.parametrize(
    ("message", "heading"),
    [
        ("h:1: no such name: x", "the-server-cannot-be-reached"),
        ("no SuperLink answers at 127.0.0.1:8001; start it", "the-server-cannot-be-reached"),
        (
            "a: the server does not know this key, or no more; ./register.sh a",
            "certificates-and-keys",
        ),
        ("RUNTIME_PORT: port 9094 of this machine cannot be had: x", "settings-of-a-deployment"),
        ("gate: 0.0.0.0:1 cannot be listened at: x; PORT: server.env", "settings-of-a-deployment"),
        ("dashboard: 127.0.0.1:1 cannot be listened at: x", "the-dashboard-does-not-start"),
    ],
)
def test_of_a_deployments_scripts(message: str, heading: str):
    assert page_for(message).endswith(f"#{heading}")
