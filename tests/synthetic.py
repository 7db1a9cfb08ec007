"""Data sets without content, for tests of who holds what: labels, domains and groups only."""

import numpy as np

from fedbridge.data.dataset import Dataset

CLASSES, COLOURS = 6, ("red", "green", "blue")
KINDS = ("single", "emoji", "fonts")


def dataset(labels, domains, groups, classes=6, domain_names=("red", "blue"), split=None):
    pictures = np.zeros((len(labels), 1, 2, 2), np.uint8)
    return Dataset(
        name="synthetic",
        modality="image",
        items=pictures,
        inputs=pictures,
        labels=np.asarray(labels, np.int64),
        domains=np.asarray(domains, np.int64),
        groups=np.asarray(groups, np.int64),
        classes=tuple("ABCDEFGH"[:classes] if classes <= 8 else map(str, range(classes))),
        domain_names=domain_names,
        fingerprint="",
        licences=(),
        split=None if split is None else np.asarray(split, np.int8),
    )


def emoji_like(per_class=10, classes=6):
    """Every group has one class and is drawn in both domains."""
    groups = np.arange(per_class * classes)
    labels = groups % classes
    return dataset(np.tile(labels, 2), np.repeat([0, 1], len(groups)), np.tile(groups, 2), classes)


def fonts_like(fonts=20, classes=6):
    """Every group has all classes and belongs to one domain; a quarter of them are blue."""
    groups = np.repeat(np.arange(fonts), classes)
    return dataset(np.tile(np.arange(classes), fonts), groups % 4 == 0, groups, classes)


def single(per_class=20, classes=6, domain_names=("red", "blue"), split=None):
    """Every item is its own group, and domains come round in turn within each class."""
    count = per_class * classes
    labels, domains = np.arange(count) % classes, np.arange(count) // classes % len(domain_names)
    return dataset(labels, domains, np.arange(count), classes, domain_names, split)


def of_kind(kind, size, seed, official=False):
    """Return a data set of one of ``KINDS`` with gaps, of CLASSES in COLOURS."""
    rng = np.random.default_rng(seed)
    if kind == "single":  # every item is its own group
        labels = np.arange(size * CLASSES) % CLASSES
        groups, domains = np.arange(len(labels)), rng.integers(0, len(COLOURS), len(labels))
    elif kind == "emoji":  # a group has one class and is drawn in every domain
        identity, count = np.arange(size * CLASSES), len(COLOURS)
        groups, domains = np.tile(identity, count), np.repeat(np.arange(count), len(identity))
        labels = groups % CLASSES
    else:  # "fonts": a group has every class and one domain
        groups = np.repeat(np.arange(size), CLASSES)
        labels, domains = np.tile(np.arange(CLASSES), size), groups % len(COLOURS)
    keep = np.sort(rng.permutation(len(labels))[: int(0.95 * len(labels))])
    names = groups[keep] * 7 + 3  # names need not be 0, 1, 2, ...
    tested = (rng.permutation(groups.max() + 1) % 4 == 0)[groups[keep]] if official else None
    return dataset(labels[keep], domains[keep], names, CLASSES, COLOURS, tested)
