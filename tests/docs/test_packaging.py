"""What a release is made of agrees: version, changes, citation, extras, pins, contents."""

import re
import tomllib

import pytest
import yaml
from documents import read, script
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import fedbridge

PROJECT = tomllib.loads(read("pyproject.toml"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", read("requirements/constraints.txt"), re.M))
UNPINNED = script("pins").UNPINNED
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_version_has_an_entry_among_the_changes():
    versions = re.findall(
        r"^## (\S+) \((unreleased|\d{4}-\d{2}-\d{2})\)$", read("CHANGELOG.md"), re.M
    )
    assert len(versions) == read("CHANGELOG.md").count("\n## ")
    assert versions[0][0] == fedbridge.__version__
    assert [day for _, day in versions[1:]].count("unreleased") == 0
    numbers = [Version(version) for version, _ in versions]
    assert numbers == sorted(numbers, reverse=True)


def test_changes_are_of_the_kinds_that_keep_a_changelog_names():
    assert set(re.findall(r"^### (.+)$", read("CHANGELOG.md"), re.M)) <= KINDS


def test_the_citation_is_complete():
    cited = yaml.safe_load(read("CITATION.cff"))
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert {"message", "title", "authors"} <= set(cited)
    assert (cited["version"], cited["license"]) == (fedbridge.__version__, PROJECT["license"])
    assert all("name" in author or "family-names" in author for author in cited["authors"])
    (paper,) = cited["references"]
    assert "2508.09489" in paper["url"] and len(paper["authors"]) == 7


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_every_requirement_is_pinned_to_what_it_allows(extra):
    for line in EXTRAS[extra] if extra else PROJECT["dependencies"]:
        needed = Requirement(line)
        if needed.name in UNPINNED:
            continue
        pin = PINS[canonicalize_name(needed.name)]
        assert needed.specifier.contains(pin), f"{line}: pinned to {pin}"


def test_the_environment_of_the_tests_has_every_extra():
    (installed,) = re.findall(r"environment\.sh (dev\S+)", read("Makefile"))
    assert set(installed.split(",")) == set(EXTRAS) - set(UNPINNED)


def test_what_pip_is_told_of_indexes_uv_is_told_too():
    listed = [
        ":env:.find-links='/wheels'",
        "global.cert='/etc/ssl/cert.pem'",
        "global.extra-index-url='\\n/one\\n/two'",
        "global.find-links='/other'",
        "global.index-url='/first?a=b'",
        "install.index-url='/second'",
        "download.index-url='/third'",
    ]
    assert script("indexes").as_options(listed) == [
        "--default-index=/second",
        "--index=/one",
        "--index=/two",
        "--find-links=/wheels",
    ]


def test_what_a_wheel_must_and_must_not_hold_is_told():
    package = script("package")
    sources = package.sources()
    assert {"fedbridge/py.typed", "fedbridge/report/run/templates/page.html"} <= sources
    assert "fedbridge/deploy/templates/server/gate.sh" in sources
    about = {"fedbridge-1.dist-info/METADATA", "fedbridge-1.dist-info/licenses/LICENSE"}
    assert package.wheel_faults(sources | about) == []
    found = sources - {"fedbridge/py.typed"} | {"tests/conftest.py", "fedbridge-1.dist-info/RECORD"}
    assert package.wheel_faults(found) == [
        "wheel: must hold fedbridge/py.typed",
        "wheel: must not hold tests/conftest.py",
        "wheel: must hold the licence",
    ]


def test_what_a_source_archive_must_hold_is_told():
    package = script("package")
    whole = {f"src/{name}" for name in package.sources()} | set(package.NEEDED)
    assert package.archive_faults(whole) == []
    assert package.archive_faults(whole - {"LICENSE"}) == ["source archive: must hold LICENSE"]
