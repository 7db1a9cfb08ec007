"""Open pages and note what they should not do: errors, and requests beyond their own origin."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

Visit = Callable[..., Page]
OWN = ("data", "blob", "about")  # schemes of what a page carries in itself


@contextmanager
def visiting(browser: Browser) -> Iterator[Visit]:
    """Give a function that opens a page; raise AssertionError at the end if one complained."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def visit(
        target: Path | str,
        width: int = 1100,
        height: int = 800,
        scheme: Literal["light", "dark"] = "light",
    ) -> Page:
        address = target.resolve().as_uri() if isinstance(target, Path) else target
        size = {"width": width, "height": height}
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("request", lambda asked: complaints.extend(foreign(asked.url, address)))
        page.on("pageerror", lambda error: complaints.append(f"error in the page: {error}"))
        page.on("console", lambda message: complaints.extend(error_in(message)))
        page.goto(address)
        return page

    yield visit
    for context in contexts:
        context.close()
    if complaints:
        raise AssertionError("; ".join(complaints))


def foreign(url: str, address: str) -> list[str]:
    """Return the request as a complaint if it leaves the page's origin; a file may ask nothing."""
    asked, home = urlsplit(url), urlsplit(address)
    here = asked[:2] == home[:2] and (home.scheme != "file" or asked.path == home.path)
    return [] if here or asked.scheme in OWN else [f"request: {url}"]


def error_in(message: ConsoleMessage) -> list[str]:
    """Return what was said to the console, as a complaint if it was an error."""
    return [f"console: {message.text}"] if message.type == "error" else []
