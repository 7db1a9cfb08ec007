"""The site shows every document, and links on it lead where they lead in the repository."""

import re
from types import SimpleNamespace

import pytest
import yaml
from documents import ROOT, script
from mkdocs.config import load_config
from mkdocs.exceptions import PluginError

PAGES = script("site_pages")
NAV = re.search(r"^nav:.*", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M | re.S)[0]


def shown(markdown: str, uri: str) -> str:
    page = SimpleNamespace(file=SimpleNamespace(src_uri=uri))
    return PAGES.on_page_markdown(markdown, page, None, None)


@pytest.mark.parametrize(
    ("uri", "link", "expected"),
    [
        ("guide.md", "../configs/digits.toml", "repository/configs/digits.toml.md"),
        ("guide.md", "results.md#small", "results.md#small"),
        ("guide.md", "../README.md#why", "repository/README.md#why"),
        ("results.md", "../results/small/a.svg", "repository/results/small/a.svg"),
        ("reference/api.md", "../../src/fedbridge", "../repository/src/fedbridge.md"),
        ("repository/README.md", "docs/guide.md", "../guide.md"),
        ("repository/README.md", "LICENSE", "LICENSE.md"),
        ("notebooks/first.md", "second.ipynb", "second.md"),
        ("guide.md", "https://arxiv.org/abs/1", "https://arxiv.org/abs/1"),
        ("guide.md", "#running", "#running"),
    ],
)
def test_links_lead_to_where_things_are_on_the_site(uri, link, expected):
    assert shown(f"see [it]({link})", uri) == f"see [it]({expected})"


def test_names_of_functions_lead_to_the_api():
    name = "fedbridge.core.losses.divergence"
    assert shown(f"`{name}`", "method.md") == f"[`{name}`][{name}]"
    field = "fedbridge.client.private.Private.released"
    assert shown(f"`{field}`", "method.md") == f"[`{field}`][{field}]"
    assert shown("`fedbridge.nothing`", "method.md") == "`fedbridge.nothing`"


def test_fenced_blocks_stay_as_they_are():
    block = "```text\n[a](../README.md) `fedbridge.core.losses`\n```\n"
    assert shown(block, "guide.md") == block


def test_bars_in_the_code_of_a_table_need_no_escape_on_the_site():
    assert shown("| `\\|v\\|` | x |", "method.md") == "| `|v|` | x |"


def test_every_module_has_its_place_in_the_api():
    modules = [module for part in PAGES.parts().values() for module in part]
    sources = {path for path in PAGES.PACKAGE.rglob("*.py") if path.stem != "__main__"}
    assert len(modules) == len(set(modules)) == len(sources)


def test_every_document_is_in_the_navigation():
    nav = str(yaml.safe_load(NAV))
    for path in (ROOT / "docs").rglob("*.md"):
        name = path.relative_to(ROOT / "docs").as_posix()
        assert name in nav or name.startswith("benchmarks/"), name
    for path in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{path.stem}.md" in nav


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/x.js">',
        "<img src=//cdn.example/x.png>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<link href="https://fonts.example" rel="preconnect">',
    ],
)
def test_a_page_that_loads_from_elsewhere_is_refused(tmp_path, tag):
    config = SimpleNamespace(site_dir=str(tmp_path))
    (tmp_path / "index.html").write_text('<a href="https://arxiv.org">x</a><img src="a.svg">')
    PAGES.on_post_build(config)
    (tmp_path / "page.html").write_text(f"<p>{tag}</p>")
    with pytest.raises(PluginError, match="must load nothing from elsewhere"):
        PAGES.on_post_build(config)


def test_the_settings_of_the_site_load_nothing_from_elsewhere():
    config = load_config(str(ROOT / "mkdocs.yml"))
    assert config.theme["font"] is False
    assert not config.extra_javascript and config.validation.links.not_found == 30  # a warning
    assert "material/search" in config.plugins
