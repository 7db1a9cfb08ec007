"""What Unicode says about emoji: which exist, and to which subgroup each belongs."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedbridge.core.packages import Fetched, Package, fetch

METADATA = Package(
    "npm",
    "emoji.json",
    0.1,
    version="16.0.0",
    sha256="71cc1f9ab370fd3749fdde3c8ab2db13cf6f64c59ee918a4735b6a08e5e09c56",
)
MEMBERS = 8  # a subgroup becomes a class if it has so many members
PRESENTATION = "\ufe0f"  # the selector that some fonts and file names write and others omit
SKIN_TONES = {chr(code) for code in range(0x1F3FB, 0x1F400)}


@dataclass(frozen=True)
class Emoji:
    """One emoji: its place in Unicode's order (its identity everywhere) and its subgroup."""

    place: int
    subgroup: str


def emoji_key(text: str) -> str | None:
    """Return the emoji without presentation selectors, or None if it has a skin tone."""
    return None if SKIN_TONES & set(text) else text.replace(PRESENTATION, "")


def key_of_name(name: str) -> str | None:
    """Return the key of a file such as ``1f468-200d-2695-fe0f.png``, None if it is no emoji."""
    try:
        return emoji_key("".join(chr(int(code, 16)) for code in Path(name).stem.split("-")))
    except (ValueError, OverflowError):
        return None


def fetch_emoji(workspace: Path) -> tuple[dict[str, Emoji], Fetched]:
    """Download the list of emoji and return it by key, in Unicode's order."""
    fetched = fetch(METADATA, workspace, lambda name: name == "package/emoji.json")
    rows = json.loads((fetched.folder / "package" / "emoji.json").read_text(encoding="utf-8"))
    subgroups: dict[str, str] = {}
    for row in rows:
        key = emoji_key(row["char"])
        if key is not None:
            subgroups.setdefault(key, row["subgroup"])
    table = {key: Emoji(place, name) for place, (key, name) in enumerate(subgroups.items())}
    return table, fetched


def common_subgroups(emoji: Iterable[Emoji]) -> tuple[str, ...]:
    """Return, sorted, the subgroups that have at least ``MEMBERS`` of these emoji."""
    counts = Counter(one.subgroup for one in emoji)
    return tuple(sorted(name for name, count in counts.items() if count >= MEMBERS))
