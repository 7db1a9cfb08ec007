"""What a person would find wrong with a page: too wide, too faint, or nothing to read aloud."""

import os
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

# WCAG 2.1: contrast of text to what lies behind it, by relative luminance. Where an element or
# one of those around it is translucent the colours are mixed; text in a figure is filled, not
# coloured, and stands on the card behind the figure.
FAINT = """
() => {
  const parse = text => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const light = colour => {
    const [r, g, b] = colour.map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      layers.push(parse(getComputedStyle(e).backgroundColor));
    }
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const opacity = element => {
    let product = 1;
    for (let e = element; e; e = e.parentElement) product *= getComputedStyle(e).opacity;
    return product;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    const style = getComputedStyle(element);
    const drawn = element instanceof SVGElement;
    if (!text || (!drawn && !element.checkVisibility())) continue;
    if (['style', 'title'].includes(element.tagName.toLowerCase())) continue;
    const ink = parse(drawn ? style.fill : style.color);
    ink[3] *= opacity(element) * (drawn ? style.fillOpacity : 1);
    const ground = behind(element);
    const [dark, bright] = [light(over(ink, ground)), light(ground)].sort((a, b) => a - b);
    const contrast = (bright + 0.05) / (dark + 0.05);
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)} ${element.tagName}: ${text}`);
  }
  return [...new Set(found)];
}
"""
OVERFLOW = """
() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= most) return [];
  return [...document.body.querySelectorAll('*')]
    .filter(e => e.getBoundingClientRect().right > most + 0.5)
    .map(e => `${e.tagName}.${e.getAttribute('class')} to ${e.getBoundingClientRect().right}`);
}
"""
UNNAMED = """
() => {
  const named = e => e.getAttribute('aria-label') || e.querySelector(':scope > title')
    || e.getAttribute('aria-labelledby') || e.textContent.trim() || (e.labels && e.labels.length);
  const figures = [...document.querySelectorAll('svg:not(svg svg), img, canvas')]
    .filter(e => e.getAttribute('aria-hidden') !== 'true')
    .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.alt));
  const wanted = 'button, input:not([type=hidden]), select, a, summary, [tabindex]';
  const controls = [...document.querySelectorAll(wanted)]
    .filter(e => !named(e));
  return [...figures, ...controls].map(e => e.outerHTML.slice(0, 120));
}
"""


def faint(page: Page) -> Any:
    """Return the texts whose contrast to what lies behind them is below 4.5 (WCAG 2.1, AA)."""
    return page.evaluate(FAINT)


def overflow(page: Page) -> Any:
    """Return what makes the page wider than its window; nothing where it is not."""
    return page.evaluate(OVERFLOW)


def unnamed(page: Page) -> Any:
    """Return the figures and controls that have nothing to be read aloud."""
    return page.evaluate(UNNAMED)


def keep(page: Page, name: str) -> None:
    """Write a screenshot of the whole page where FEDBRIDGE_SCREENSHOTS names a folder for it."""
    if folder := os.environ.get("FEDBRIDGE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
