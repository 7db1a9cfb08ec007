"""``annotations``: names and keywords of emoji in 16 languages; the class is the subgroup."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fedbridge.core.packages import Package, fetch
from fedbridge.core.store import Part
from fedbridge.core.tokens import tokenize
from fedbridge.data.catalog.unicode import METADATA, common_subgroups, emoji_key, fetch_emoji
from fedbridge.data.spec import DataSource

LANGUAGES = (
    "en", "de", "fr", "es", "ru", "ar", "hi", "ja",
    "tr", "zh", "it", "pt", "nl", "pl", "vi", "sw",
)  # fmt: skip
PACKAGE = Package(
    "npm",
    "cldr-annotations-full",
    6.5,
    version="48.2.0",
    sha256="28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
)
LICENCE = "Unicode CLDR annotations, Unicode-3.0 (npm cldr-annotations-full)"


def prepare(domains: tuple[str, ...], workspace: Path) -> Iterator[Part]:
    """Yield these languages: texts "name: keyword, keyword" and token ids ``(N, 96)``.

    The classes are the subgroups that are common in English, whatever languages are used; the
    group is the emoji's place in Unicode's list.
    """
    table, metadata = fetch_emoji(workspace)
    fetched = fetch(PACKAGE, workspace, lambda name: name.endswith("/annotations.json"))
    english = read_texts(_path(fetched.folder, "en"))
    classes = common_subgroups(emoji for key, emoji in table.items() if key in english)
    for language in domains:
        texts = read_texts(_path(fetched.folder, language))
        rows = [
            (texts[key], emoji)
            for key, emoji in table.items()
            if key in texts and emoji.subgroup in classes
        ]
        yield Part(
            domain=language,
            items=tuple(text for text, _ in rows),
            inputs=np.stack([tokenize(text) for text, _ in rows]),
            labels=np.array([classes.index(emoji.subgroup) for _, emoji in rows], np.int64),
            groups=np.array([emoji.place for _, emoji in rows], np.int64),
            classes=classes,
            licences=(LICENCE,),
            sources=(metadata.source, fetched.source),
        )


def read_texts(path: Path) -> dict[str, str]:
    """Return "name: keyword, keyword" by emoji key, for everything the file names."""
    rows = json.loads(path.read_text(encoding="utf-8"))["annotations"]["annotations"]
    texts = {}
    for symbol, row in rows.items():
        key = emoji_key(symbol)
        if key is not None and "tts" in row:
            texts[key] = f"{row['tts'][0]}: {', '.join(row.get('default', ()))}"
    return texts


def _path(folder: Path, language: str) -> Path:
    return folder / "package" / "annotations" / language / "annotations.json"


ANNOTATIONS = DataSource(
    parts=prepare,
    summary="names and keywords of 1,400 emoji in 16 languages, 68 classes (Unicode subgroups)",
    domains=LANGUAGES,
    licences=(LICENCE,),
    packages=(METADATA, PACKAGE),
    modality="text",
)
