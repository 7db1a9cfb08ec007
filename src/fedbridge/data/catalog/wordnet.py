"""``wordnet``: 62,000 definitions of English nouns; the class is an ancestor of what is defined."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedbridge.core.errors import UserError
from fedbridge.core.packages import Package, fetch
from fedbridge.core.store import Part
from fedbridge.core.tokens import tokenize
from fedbridge.data.spec import DataSource

PACKAGE = Package("apt", "wordnet-base", 6.5)
LICENCE = "WordNet 3.0, (c) 2006 Princeton University, WordNet licence (Debian wordnet-base)"
LEAST, MOST = 200, 1500  # synsets in a class
HYPERNYMS = ("@", "@i")  # "is a kind of" and "is an instance of"


@dataclass(frozen=True)
class Synset:
    """A meaning: its first word, its definition without examples, and what it is a kind of."""

    word: str
    definition: str
    parent: str | None


def prepare(domains: tuple[str, ...], workspace: Path) -> Iterator[Part]:
    """Yield the one domain: definitions and their token ids ``(N, 96)``; equal texts are a group.

    The words that are defined are no part of the text. A definition that two classes share is
    left out.
    """
    fetched = fetch(PACKAGE, workspace, lambda name: name.endswith("/wordnet/data.noun"))
    (path,) = fetched.folder.rglob("data.noun")
    synsets = read_nouns(path)
    branches = branches_of(synsets)
    owners: dict[str, set[int]] = defaultdict(set)
    rows = []
    for label, members in enumerate(branches.values()):
        for member in members:
            owners[synsets[member].definition].add(label)
            rows.append((synsets[member].definition, label))
    rows = [(text, label) for text, label in rows if len(owners[text]) == 1]
    place = {text: number for number, text in enumerate(owners)}
    yield Part(
        domain="wordnet",
        items=tuple(text for text, _ in rows),
        inputs=np.stack([tokenize(text) for text, _ in rows]),
        labels=np.array([label for _, label in rows], np.int64),
        groups=np.array([place[text] for text, _ in rows], np.int64),
        classes=class_names(synsets, tuple(branches)),
        licences=(LICENCE,),
        sources=(fetched.source,),
    )


def read_nouns(path: Path) -> dict[str, Synset]:
    """Read ``data.noun`` (its layout: wndb(5WN)) by synset offset; raise UserError if damaged."""
    synsets = {}
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), 1):
        if line.startswith("  "):
            continue  # the licence, which every file of WordNet begins with
        try:
            offset, synset = _parse(line)
        except (ValueError, IndexError) as error:
            raise UserError(f"{path.name}: line {number} is no synset: {error}") from error
        synsets[offset] = synset
    return synsets


def _parse(line: str) -> tuple[str, Synset]:
    head, _, gloss = line.partition(" | ")
    fields = head.split()
    pointers = 4 + 2 * int(fields[3], 16)  # after the words, each with a number
    count = int(fields[pointers])
    links = [fields[pointers + 1 + 4 * i : pointers + 5 + 4 * i] for i in range(count)]
    parents = [target for symbol, target, _, _ in links if symbol in HYPERNYMS]
    # examples follow the definition in quotes, and often contain the word
    definition = gloss.partition('; "')[0].strip()
    if not definition:
        raise ValueError("it has no definition")
    word = fields[4].replace("_", " ")
    # of several hypernyms the first: so the nouns form a tree
    return fields[0], Synset(word, definition, parents[0] if parents else None)


def branches_of(synsets: dict[str, Synset]) -> dict[str, list[str]]:
    """Return the classes: disjoint branches of the tree of nouns, by their roots.

    They are the highest branches of at most ``MOST`` synsets, without those of fewer than
    ``LEAST``; each lists its root and everything below.
    """
    children: dict[str | None, list[str]] = defaultdict(list)
    for offset, synset in synsets.items():
        children[synset.parent].append(offset)
    branches = {}
    todo = children[None][::-1]
    while todo:
        root = todo.pop()
        members = [root]
        for member in members:  # grows while it is walked
            members += children[member]
        if LEAST <= len(members) <= MOST:
            branches[root] = members
        elif len(members) > MOST:
            todo += children[root][::-1]
    return branches


def class_names(synsets: dict[str, Synset], roots: tuple[str, ...]) -> tuple[str, ...]:
    """Name classes by their roots' words; where several share one, each with its offset."""
    count = Counter(synsets[root].word for root in roots)
    words = {root: synsets[root].word for root in roots}
    return tuple(f"{word} {root}" if count[word] > 1 else word for root, word in words.items())


WORDNET = DataSource(
    parts=prepare,
    summary="62,000 definitions of English nouns, 112 classes (branches of WordNet)",
    domains=("wordnet",),
    licences=(LICENCE,),
    packages=(PACKAGE,),
    modality="text",
)
