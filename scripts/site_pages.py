"""What mkdocs adds to docs/: files elsewhere in the repository, the API, the notebooks.

The documents link to each other as the repository has them (``../configs/digits.toml``,
``../README.md``). On the site such a file becomes a page, or a picture, below ``repository/``.
mkdocs calls the functions that begin with ``on_``.
"""

import ast
import json
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "fedbridge"
EXECUTED = ROOT / "build" / "notebooks"  # written by scripts/notebooks.py
OUTSIDE = "repository"
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)(#[^)\s]*)?\)")
NAME = re.compile(r"(?<!\[)`(fedbridge(?:\.\w+)+)`")
FOREIGN = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*>"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preconnect|preload|icon))[^>]*//[^>]*>"""
)
CODE = re.compile(r"`[^`\n]+`")
PICTURES = (".png", ".svg")
LANGUAGES = {".toml": "toml", ".py": "python", ".json": "json", ".yml": "yaml", ".sh": "bash"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put a page for each part of the package behind the entry of the API."""
    reference = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    reference[-1] = {"API": [reference[-1]["API"], *(f"reference/{part}.md" for part in parts())]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the documents link to outside of docs/, the pages of the API and the notebooks."""
    for path in outside():
        files.append(shown(path, config))
    for part, modules in parts().items():
        files.append(File.generated(config, f"reference/{part}.md", content=api(part, modules)))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        for file in notebook_files(notebook, config):
            files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to where things are on the site, and names of functions into links."""
    uri = page.file.src_uri
    if uri.startswith("reference/fedbridge"):
        return markdown
    known = identifiers()

    def unescaped(found: re.Match[str]) -> str:
        return found[0].replace("\\|", "|")

    def named(found: re.Match[str]) -> str:
        return f"[{found[0]}][{found[1]}]" if found[1] in known else found[0]

    def linked(found: re.Match[str]) -> str:
        target = site_uri(resolved(repository_path(uri), found[1]))
        return f"]({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{found[2] or ''})"

    pieces = FENCE.split(markdown)  # every second one is a fenced block
    for number in range(0, len(pieces), 2):
        piece = LINK.sub(linked, pieces[number])
        # a table's code needs its bars escaped in the repository, and must not have them so here
        pieces[number] = NAME.sub(named, CODE.sub(unescaped, piece))
    return "".join(pieces)


def on_post_build(config: MkDocsConfig) -> None:
    """Raise PluginError if a page loads anything from elsewhere: no network is needed."""
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        if found := FOREIGN.search(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path}: must load nothing from elsewhere, found {found[0]}")


# -- files outside of docs/


def outside() -> list[str]:
    """Return the paths of all files outside of docs/ that some document leads to."""
    docs = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    todo, found = [*TOP, *docs], set(TOP)
    for document in todo:
        text = "".join(FENCE.split((ROOT / document).read_text(encoding="utf-8"))[::2])
        targets = {resolved(document, match[1]) for match in LINK.finditer(text)}
        found |= {path for path in targets if not path.startswith("docs/")}
    return sorted(found)


def resolved(document: str, target: str) -> str:
    """Return the path in the repository that a link in a document means."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(document), target))


def site_uri(path: str) -> str:
    """Return where a file of the repository is on the site."""
    inside = path.removeprefix("docs/")
    if inside != path:
        return inside.replace(".ipynb", ".md")
    is_page = path.endswith((".md", *PICTURES))
    return f"{OUTSIDE}/{path}" + ("" if is_page else ".md")


def repository_path(uri: str) -> str:
    """Return which file of the repository a page of the site is made of."""
    inside = uri.removeprefix(f"{OUTSIDE}/")
    return inside if inside != uri else f"docs/{uri}"


def shown(path: str, config: MkDocsConfig) -> File:
    """Return a file as the site shows it: a document or a picture as it is, all else as text."""
    source, uri = ROOT / path, site_uri(path)
    if path.endswith((".md", *PICTURES)):
        return File.generated(config, uri, abs_src_path=str(source))
    if source.is_dir():
        lines = sorted(f"{child.name}{'/' * child.is_dir()}" for child in source.iterdir())
        text = "\n".join(line for line in lines if "__pycache__" not in line) + "\n"
    else:
        text = source.read_text(encoding="utf-8")
    fence = "`````"
    body = f"{fence}{LANGUAGES.get(source.suffix, 'text')}\n{text}{fence}\n"
    head = "---\nsearch:\n  exclude: true\n---\n"
    return File.generated(config, uri, content=f"{head}# {path}\n\n{body}")


# -- the API


def parts() -> dict[str, list[str]]:
    """Return the parts of the package, each a page, and the names of their modules."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if module[-1] == "__init__":
            module = module[:-1]
        if module[-1] != "__main__":
            found.setdefault(".".join(module[:2]), []).append(".".join(module))
    return found


def api(part: str, modules: list[str]) -> str:
    """Return the page of one part, which mkdocstrings fills from the docstrings."""
    body = "\n".join(f"::: {module}\n" for module in modules)
    return f"---\ntitle: {part}\n---\n\n{body}"


def identifiers() -> set[str]:
    """Return the dotted names that the pages of the API have an anchor for."""
    found: set[str] = set()
    for modules in parts().values():
        for module in modules:
            path = PACKAGE.parent.joinpath(*module.split("."))
            source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            found |= {module, *_names(module, ast.parse(source.read_text(encoding="utf-8")))}
    return found


def _names(prefix: str, node: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Yield the public names that are defined in a module or class."""
    for child in node.body:
        name = _name(child)
        if name and not name.startswith("_"):
            yield f"{prefix}.{name}"
            if isinstance(child, ast.ClassDef):
                yield from _names(f"{prefix}.{name}", child)


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return target.id if isinstance(target, ast.Name) else ""


# -- notebooks


def notebook_files(path: Path, config: MkDocsConfig) -> Iterator[File]:
    """Yield a notebook's page and its pictures, with results where it has been executed."""
    executed = EXECUTED / path.name
    tree = json.loads((executed if executed.is_file() else path).read_text(encoding="utf-8"))
    parts: list[str] = []
    for number, cell in enumerate(tree["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for place, output in enumerate(cell["outputs"]):
            name = f"{path.stem}-{number}-{place}"
            yield from _picture(output, name, config)
            parts.append(_output(output, name))
    ending = ", executed when the site was built" if executed.is_file() else ""
    parts.insert(1, f"*This page is the notebook `{os.path.relpath(path, ROOT)}`{ending}.*")
    uri = f"notebooks/{path.stem}.md"
    yield File.generated(config, uri, content="\n\n".join(filter(None, parts)) + "\n")


def _picture(output: dict[str, Any], name: str, config: MkDocsConfig) -> Iterator[File]:
    svg = output.get("data", {}).get("image/svg+xml")
    if svg:
        yield File.generated(config, f"notebooks/{name}.svg", content="".join(svg))


def _output(output: dict[str, Any], name: str) -> str:
    data = output.get("data", {})
    if "image/svg+xml" in data:
        return f"![result]({name}.svg)"
    if "text/markdown" in data:
        return "".join(data["text/markdown"])
    text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
    return f"```text\n{text}\n```" if text else ""
