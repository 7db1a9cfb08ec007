"""What the documents point at exists: links, paths, headings, functions, the tree of files."""

import importlib
import re

import pytest
from documents import GENERATED, ROOT, documents, headings, prose, read, records, snippets

import fedbridge

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
DOTTED = re.compile(r"fedbridge(\.\w+)+")
PATH = re.compile(r"(?:\.ci|configs|docs|scripts|src|tests|benchmarks|requirements)/[\w./-]*")


@pytest.mark.parametrize("document", [*documents(), *GENERATED, *records()])
def test_links_resolve(document):
    for target in LINK.findall(prose(document)):
        if target.startswith("https://"):
            continue
        file, _, heading = target.partition("#")
        path = (ROOT / document).parent / file if file else ROOT / document
        assert path.exists(), f"{document} links to {target}"
        if heading:
            assert heading in headings(path.resolve().relative_to(ROOT).as_posix()), target


@pytest.mark.parametrize("document", documents())
def test_names_in_code_exist(document):
    for code in CODE.findall(prose(document)):
        if DOTTED.fullmatch(code):
            assert resolves(code), f"{document}: there is no {code}"
        elif PATH.fullmatch(code):
            assert (ROOT / code).exists(), f"{document}: there is no {code}"


def resolves(dotted: str) -> bool:
    """Say whether a dotted name is a module, or an attribute within one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            # a dataclass field without default is no attribute of its class
            fields = getattr(found, "__annotations__", {})
            if not hasattr(found, name) and name not in fields:
                return False
            found = getattr(found, name, None)
        return True
    return False


def test_a_wrong_name_would_be_noticed():
    assert resolves("fedbridge.core.losses.divergence")
    assert resolves("fedbridge.core.metrics")
    assert not resolves("fedbridge.core.losses.convergence")
    assert not resolves("fedbridge.nothing")


def test_every_formula_names_its_function():
    rows = [line for line in read("docs/method.md").splitlines() if line.startswith("| ")]
    unnamed = [row for row in rows if "`fedbridge." not in row]
    assert len(rows) > 20
    assert [row.endswith("| function |") for row in unnamed] == [True] * len(unnamed)


def tree_of_files():
    """Return the lines of the README's tree: names, which end in / or have a dot, and words."""
    (tree,) = (s.text for s in snippets("text", "README.md") if s.text.startswith("Makefile"))
    for line in tree.splitlines():
        names = re.match(r" *((Makefile|[\w.-]*[/.][\w./-]*) +)+", line)
        assert names and line[names.end() :], f"README: {line!r}: a name and what is there"
        yield line.startswith(" "), names[0].split()


def test_the_readmes_tree_names_what_exists():
    parent = ROOT
    for inside, names in tree_of_files():
        for name in names:
            path = (parent if inside else ROOT) / name
            assert path.exists() and path.is_dir() == name.endswith("/"), path
        if not inside:
            parent = ROOT / names[-1]


def test_the_readmes_tree_names_every_room_of_the_package_in_a_few_lines():
    lines = list(tree_of_files())
    package = ROOT / "src" / "fedbridge"
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert rooms <= {name for inside, names in lines if inside for name in names}
    assert len(lines) <= 20


def test_the_reference_names_all_that_import_fedbridge_gives():
    table = read("docs/reference/api.md").split("| name | from |")[1]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    homes = {name: home.strip(" `") for names, home in rows for name in re.findall(r"\w+", names)}
    assert homes.keys() == set(fedbridge.__all__)
    for name, home in homes.items():
        assert getattr(importlib.import_module(home), name) is getattr(fedbridge, name)


def test_the_log_leads_to_every_section_of_its_pages():
    targets = set(LINK.findall(read("docs/log.md")))
    for page in records():
        titles = [line for line in read(page).splitlines() if line.startswith("## ")]
        assert len(titles) == len(headings(page)) - 1  # no two alike; one is the page's own
        name = page.removeprefix("docs/")
        assert {f"{name}#{h}" for h in headings(page)} - targets == {f"{name}#{own(page)}"}


def own(page):
    """Return the anchor of a page's title."""
    title = read(page).splitlines()[0].removeprefix("# ")
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_generated_documents_are_linked_from_the_readme():
    assert all(f"({name})" in read("README.md") for name in GENERATED)
