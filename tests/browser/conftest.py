"""A headless Chromium for the tests in this folder, and a way to open pages that tells on them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from visiting import Visit, visiting

HOME = Path(sys.prefix) / "chromium"


# not of the session: while it lives, no other test in this process could run an event loop
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the browser that ``scripts/browser.py`` put there, or the one that CHROMIUM names."""
    named = os.environ.get("CHROMIUM")
    program = Path(named) if named else HOME / "chromium"
    if not program.is_file():
        pytest.fail(f"{program}: no browser; run `make environment`, or set CHROMIUM")
    own = {"LD_LIBRARY_PATH": str(HOME / "lib"), "FONTCONFIG_FILE": str(HOME / "fonts.conf")}
    environment = {**os.environ, **({} if named else own)}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, env=environment)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Return a function that opens a file or an address; complaints fail the test at its end."""
    with visiting(browser) as visit:
        yield visit
