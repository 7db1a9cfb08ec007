"""Tiny sites for tests: real files with pictures or rows, a site config, and a common config."""

import csv
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from PIL import Image

from fedbridge.config import SiteConfig, load_site
from fedbridge.methods.config import Config
from fedbridge.methods.files import dump_config, parse_config

CLASSES = ("cat", "dog", "eel", "fox")


def common(modality: str = "image", **changes: Any) -> Config:
    """Return the common config of two sites, ``north`` and ``south``."""
    small = ["cnn", "mlp"] if modality == "image" else ["bag", "textcnn"]
    tree: dict[str, Any] = {
        "seed": 3,
        "data": {
            "name": "site",
            "clients": ["north", "south"],
            "classes": list(CLASSES),
            "modality": modality,
            "public": "none",
            "public_items": 24,
        },
        "scenario": {"clients": 2, "tasks": 3, "classes_per_task": 2},
        "large": {"model": "patches", "size": 16},
        "small": {"models": small, "dimension": 32},
        "training": {"rounds": 2, "epochs": 3, "batch": 16},
        "engine": {"workers": 0, "device": "cpu"},
    }
    if modality == "image":
        tree["data"]["size"] = 16
    else:
        tree["large"] = {"head": "none"}
    for key, value in changes.items():
        tree[key] = tree.get(key, {}) | value if isinstance(value, dict) else value
    return parse_config(tree, "test")


def site_file(folder: Path, client: str = "north", **data: Any) -> Path:
    """Write a site config and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "site.toml"
    path.write_text(tomli_w.dumps({"client": client, "data": data}), encoding="utf-8")
    return path


def site(folder: Path, **data: Any) -> SiteConfig:
    return load_site(site_file(folder, **data))


def with_config(folder: Path, config: Config) -> Path:
    """Put the common config beside the site config; return the latter's path."""
    (folder / "config.toml").write_text(dump_config(config), encoding="utf-8")
    assert "client" in tomllib.loads((folder / "site.toml").read_text())
    return folder / "site.toml"


def pictures(folder: Path, label: str, count: int, seed: int = 0) -> list[Path]:
    """Write pictures of noise in which a light corner is the class; return their paths."""
    rng = np.random.default_rng([seed, CLASSES.index(label)])
    (folder / label).mkdir(parents=True, exist_ok=True)
    row, column = divmod(CLASSES.index(label), 2)
    paths = []
    for number in range(count):
        pixels = rng.integers(0, 60, (16, 16, 3)).astype(np.uint8)
        pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += np.uint8(150)
        paths.append(folder / label / f"{seed}-{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def task(folder: Path, labels: Sequence[str], count: int = 25, seed: int = 0) -> Path:
    """Write a task of pictures, ``count`` of each class."""
    for label in labels:
        pictures(folder, label, count, seed)
    return folder


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return rows of words and numbers; days go by, and the class follows from the number."""
    return [
        {
            "text": f"{CLASSES[n % 4]} number {n} in the {'sea' if n % 4 == 2 else 'wood'}",
            "label": CLASSES[n % 4],
            "weight": round(0.7 + n % 4 + n / 1000, 3),
            "colour": ("red", "grey")[n % 2],
            "date": f"2025-{1 + n // 40:02}-{1 + n % 28:02}",
            "task": f"task-{1 + n // 40}",
            "owner": f"owner-{n // 3}",
        }
        for n in range(start, start + count)
    ]


def write_csv(path: Path, table: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path
