"""Write what a run's page shows, from one heading to another, as a picture.

.venv/bin/python scripts/screenshot.py runs/quickstart/report.html docs/report.png
"""

import io
import os
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HOME = Path(sys.prefix) / "chromium"
FIRST, LAST = "What is forgotten", "The shared space"
COLOURS = 128  # enough for a page, and a third of the bytes


def main(page_file: str, picture: str) -> None:
    """Open the page in the browser that ``scripts/browser.py`` put there, and take the picture."""
    own = {"LD_LIBRARY_PATH": str(HOME / "lib"), "FONTCONFIG_FILE": str(HOME / "fonts.conf")}
    with sync_playwright() as playwright:
        program = os.environ.get("CHROMIUM") or HOME / "chromium"
        browser = playwright.chromium.launch(executable_path=program, env={**os.environ, **own})
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.goto(Path(page_file).resolve().as_uri())
        found = page.screenshot(full_page=True, clip=stretch(page))
        browser.close()
    image = Image.open(io.BytesIO(found)).convert("RGB").quantize(COLOURS)
    image.save(picture, optimize=True)


def stretch(page: Page) -> dict[str, float]:
    """Return the box of the cards from the first heading's to the last one's."""
    boxes = [
        page.locator("section.card", has=page.get_by_role("heading", name=name)).bounding_box()
        for name in (FIRST, LAST)
    ]
    if None in boxes:
        sys.exit(f"error: the page must have the headings {FIRST!r} and {LAST!r}")
    top, bottom = boxes[0]["y"] - 12, boxes[1]["y"] + boxes[1]["height"] + 12
    return {"x": 0, "y": top, "width": 1000, "height": bottom - top}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} PAGE PICTURE")
    main(*sys.argv[1:])
