"""Raw data stay home: everything that clients upload in a whole run, held against their items.

An item counts as found in an upload if its resemblance (see ``eavesdropping``) lies more than half
way from the largest of the null distribution to 1, that of a copy. The null distribution are items
of the same classes that no client holds, against the same uploads.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from eavesdropping import Vectors, arrays_of, listen, resemblance, uploads_of
from numpy.typing import NDArray
from tiny_runs import tiny

from fedbridge.core.errors import UserError
from fedbridge.federation.embeddings import EmbeddingStore, embed_dataset
from fedbridge.federation.setup import Setup, prepare, used_items
from fedbridge.models.fm.foundation import load_foundation
from fedbridge.wire import KINDS, UPLOAD_FIELDS, Evaluation, Upload, decode

Rows = NDArray[np.int64]
LARGE = {"model": "patches", "size": 16, "projection": 100}
STRANGERS = 60
FEW: dict[str, object] = {
    "scenario": {"clients": 2, "tasks": 2},
    "small": {"models": ["cnn", "mobile"], "dimension": 32},
}
KINDS_OF_VECTOR = ("input", "FM embedding", "feature")


@dataclass
class Heard:
    """A run, and what was heard of it."""

    setup: Setup
    embeddings: EmbeddingStore
    """Of all items, whoever holds them."""
    messages: list[bytes]
    uploads: list[Upload]

    def vectors(self, kind: str, rows: Rows) -> Vectors:
        """Return items as the small model, the FM or the head reads them, ``(n, L)``.

        Raw and normalised inputs differ in scale and offset, so that one stands for both.
        """
        inputs = self.setup.dataset.inputs[rows].reshape(len(rows), -1)
        found = {"input": inputs, "FM embedding": self.embeddings[rows]}
        features = self.setup.shared.lift(self.embeddings[rows])
        return np.asarray((found | {"feature": features})[kind], np.float64)

    def own(self, upload: Upload) -> Rows:
        """Return every item of the upload's task that its client holds."""
        (stream,) = (s for s in self.setup.streams.clients if s.name == upload.client)
        task = stream.tasks[upload.task - 1]
        return np.concatenate([task.train, task.validation, task.test])

    def strangers(self, upload: Upload) -> Rows:
        """Return items of the same classes that no client holds."""
        labels = self.setup.dataset.labels
        alike = np.flatnonzero(np.isin(labels, labels[self.own(upload)]))
        # the test of another client may hold items that this one does not
        free = np.setdiff1d(alike, used_items(self.setup.streams, public=False))
        return np.random.default_rng(0).permutation(free)[:STRANGERS]

    def bar(self, kind: str, upload: Upload) -> float:
        """Return the resemblance from which on an item counts as found."""
        null = resemblance(self.vectors(kind, self.strangers(upload)), upload)
        return float(1 + null.max()) / 2

    def found(self, kind: str, upload: Upload) -> int:
        """Return how many of the client's items are found in its upload."""
        own = resemblance(self.vectors(kind, self.own(upload)), upload)
        return int((own > self.bar(kind, upload)).sum())


def hear(folder: Path, least: int = 1, **changes: object) -> Heard:
    config = tiny(**{**FEW, "large": LARGE | {"min_class_items": least}, **changes})
    messages = listen(folder, config)
    setup = prepare(config)
    fm = load_foundation("patches", 16, setup.shared.device, "float32")
    every = np.arange(len(setup.dataset))
    embeddings = embed_dataset(fm, setup.dataset, every, folder.parent, 64)
    return Heard(setup, embeddings, messages, uploads_of(messages))


@pytest.fixture(scope="module")
def heard(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Heard:
    return hear(tmp_path_factory.mktemp("heard") / "run")


def test_every_message_is_one_of_those_that_there_are(heard: Heard):
    kinds = {kind: 0 for kind in KINDS}
    for data in heard.messages:
        for kind in KINDS:
            try:
                kinds[kind] += type(decode(data, kind)).__name__ == kind
            except UserError:
                continue
    # two clients; four rounds, and measurements before the first and after each of two tasks
    assert kinds == {"Broadcast": 14, "Upload": 8, "Evaluation": 6, "Hello": 0}
    assert len(heard.messages) == 28


def test_uploads_hold_the_fields_that_are_allowed(heard: Heard):
    assert len(heard.uploads) == 8
    for upload in heard.uploads:
        assert set(vars(upload)) == UPLOAD_FIELDS


def test_measurements_hold_counts_alone(heard: Heard):
    for data in heard.messages:
        try:
            message = decode(data, "Evaluation")
        except UserError:
            continue
        assert isinstance(message, Evaluation)
        for _, predictor, protocol, correct, n in message.rows:
            assert predictor in ("small", "large", "together") and 0 <= correct <= n
            assert protocol in ("class-incremental", "task-aware")
        assert all(type(count) is int for count in message.accepted)


def test_sizes_do_not_depend_on_the_number_of_items(heard: Heard, tmp_path: Path):
    fewer = hear(tmp_path / "run", scenario={"clients": 2, "tasks": 2, "train_per_class": 9})
    assert [u.num_examples for u in fewer.uploads] != [u.num_examples for u in heard.uploads]
    for one, other in zip(fewer.uploads, heard.uploads, strict=True):
        assert (one.client, one.task, one.round) == (other.client, other.task, other.round)
        shapes = [{k: (v.shape, v.dtype) for k, v in arrays_of(u).items()} for u in (one, other)]
        assert shapes[0] == shapes[1]
        shared = heard.setup.shared
        model = shared.small_model(heard.setup.models[one.client], one.client)
        expected = {f"state/{k}": (v.shape, v.dtype) for k, v in model.state_dict().items()}
        m, c = shared.lift.dimension, len(shared.classes)
        sizes = {"gram": (m * (m + 1) // 2,), "cross": (m, c), "counts": (c,)}
        first = one.round == 1
        sums = {k: (torch.Size(s if first else (0,)), torch.float32) for k, s in sizes.items()}
        assert shapes[0] == {**expected, **sums}


@pytest.mark.parametrize("kind", KINDS_OF_VECTOR)
def test_no_private_item_is_found_in_an_upload(kind: str, heard: Heard):
    above, own_items = 0, 0
    for upload in heard.uploads:
        own, null = (
            resemblance(heard.vectors(kind, rows), upload)
            for rows in (heard.own(upload), heard.strangers(upload))
        )
        assert own.max() < (1 + null.max()) / 2
        above += int((own > np.quantile(null, 0.95)).sum())
        own_items += len(own)
    # of items that are not there at all, one in twenty would lie above the 95 % quantile
    assert own_items > 400 and above <= 0.1 * own_items


def test_no_vector_of_labels_is_found_in_an_upload(heard: Heard):
    rng = np.random.default_rng(0)
    for upload in heard.uploads:
        labels = heard.setup.dataset.labels[heard.own(upload)].astype(np.float64)
        orders = np.stack([rng.permutation(labels) for _ in range(32)])
        null = resemblance(orders, upload).max()
        assert resemblance(np.stack([labels, np.sort(labels)]), upload).max() < (1 + null) / 2


# the same check finds what does leak


def leaking(upload: Upload, vector: Vectors, way: str) -> Upload:
    """Return an upload into which one private vector was written."""
    state = {k: v.clone() for k, v in upload.state.items()}
    name = max(state, key=lambda k: state[k].numel())
    numbers = state[name].flatten()
    if way == "disguised":  # another scale, offset and sign, and some noise
        noise = np.random.default_rng(0).standard_normal(len(vector))
        vector = 0.3 - 1e-3 * (vector + 0.05 * vector.std() * noise)
    numbers[7 : 7 + len(vector)] = torch.from_numpy(vector)
    state[name] = numbers.reshape(state[name].shape)
    if way == "turned":  # along a column
        wide = torch.randn(len(vector), 5, generator=torch.Generator().manual_seed(0))
        wide[:, 3] = torch.from_numpy(vector)
        return replace(upload, cross=wide)
    return replace(upload, state=state)


@pytest.mark.parametrize("way", ["plain", "disguised", "turned"])
@pytest.mark.parametrize("kind", KINDS_OF_VECTOR)
def test_an_item_that_leaks_is_found(kind: str, way: str, heard: Heard):
    upload = heard.uploads[2]  # of a second round: no sums
    item = heard.vectors(kind, heard.own(upload)[5:6])[0]
    assert heard.found(kind, upload) == 0
    assert resemblance(item[None], leaking(upload, item, way))[0] > heard.bar(kind, upload)


def test_labels_that_leak_are_found(heard: Heard):
    upload = heard.uploads[2]
    labels = heard.setup.dataset.labels[heard.own(upload)].astype(np.float64)
    assert resemblance(labels[None], leaking(upload, labels, "disguised"))[0] > 0.95


def test_the_sums_of_single_items_leak_them_unless_they_are_held_back(tmp_path: Path):
    changes = {
        "scenario": {"clients": 2, "tasks": 1, "train_per_class": 1},
        "training": {"rounds": 1, "epochs": 1},
    }
    for least in (1, 2):
        heard = hear(tmp_path / str(least), least, **changes)
        for upload in heard.uploads:
            single = int((upload.counts == 1).sum())
            assert upload.num_examples and single == (upload.num_examples if least == 1 else 0)
            assert heard.found("feature", upload) == single
