"""The browser tests' own means: what they must find, and what they must let pass."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser
from seeing import faint, overflow, unnamed
from visiting import Visit, foreign, visiting


def written(folder: Path, body: str) -> Path:
    path = folder / "page.html"
    path.write_text(f"<!doctype html><title>t</title><body style='margin:0'>{body}", "utf-8")
    return path


def test_contrast_is_wcags(visit: Visit, tmp_path: Path) -> None:
    # WCAG's own examples: #767676 on white is 4.54, #777777 is 4.48; half black is 3.98
    body = """
      <p style="color:#767676">well</p><p style="color:#777">faint</p>
      <p style="opacity:.5">half</p><p style="display:none;color:#eee">hidden</p>
      <svg aria-label="s"><text y="9" style="fill:#777">drawn</text></svg>
      <div style="background:#000"><p style="color:#888">light</p></div>"""
    found = faint(visit(written(tmp_path, body)))
    assert found == ["4.48 P: faint", "3.98 P: half", "4.48 text: drawn"]


def test_what_is_too_wide_is_found(visit: Visit, tmp_path: Path) -> None:
    body = "<main style='width:400px;height:9px'></main>"
    assert overflow(visit(written(tmp_path, body), width=400)) == []
    assert overflow(visit(written(tmp_path, body), width=360)) == ["MAIN.null to 400"]


def test_what_has_no_name_is_found(visit: Visit, tmp_path: Path) -> None:
    body = "<svg></svg><button></button><svg aria-label='a'></svg><button>b</button>"
    assert len(unnamed(visit(written(tmp_path, body)))) == 2


def test_the_colour_scheme_is_the_one_asked_for(visit: Visit, tmp_path: Path) -> None:
    path = written(tmp_path, "")
    dark = "matchMedia('(prefers-color-scheme: dark)').matches"
    assert visit(path, scheme="dark").evaluate(dark) is True
    assert visit(path).evaluate(dark) is False


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<script>console.error('oh')</script>", "console: oh"),
        ("<script>throw new Error('no')</script>", "error in the page: no"),
        ("<img src='http://127.0.0.1:9/x.png'>", "request: http://127.0.0.1:9/x.png"),
        ("<img src='other.png'>", "other.png"),
    ],
)
def test_complaints_fail_a_test(
    body: str, complaint: str, browser: Browser, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=complaint), visiting(browser) as visit:
        visit(written(tmp_path, body)).wait_for_load_state("networkidle")


def test_a_page_may_talk_to_its_own_origin() -> None:
    assert foreign("http://127.0.0.1:80/a.css", "http://127.0.0.1:80/") == []
    assert foreign("data:image/png;base64,", "file:///page.html") == []
    assert foreign("http://127.0.0.1:81/", "http://127.0.0.1:80/") != []
    assert foreign("https://127.0.0.1:80/", "http://127.0.0.1:80/") != []
