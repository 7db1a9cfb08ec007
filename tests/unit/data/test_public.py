"""The public set: what it may be made of, and that clients do not notice."""

import numpy as np
import pytest

from fedbridge.config import Data
from fedbridge.core.errors import UserError
from fedbridge.core.tokens import LENGTH, tokenize
from fedbridge.data import public as module
from fedbridge.data.dataset import Dataset
from fedbridge.data.public import PublicSet, check_public, items_at, public_set
from fedbridge.data.shapes import dead_leaves
from fedbridge.data.streams.scenario import Streams, build_scenario
from fedbridge.methods.files import parse_config

PICTURES = 240


def pictures(seed: int, item: tuple[int, ...], side: int, name: str = "ours") -> Dataset:
    """Return random pictures of 6 classes whose items may be larger than the inputs."""
    rng = np.random.default_rng(seed)
    items = rng.integers(0, 256, (PICTURES, *item)).astype(np.uint8)
    return of(items, items[:, :, :side, :side], name)


def texts(seed: int, name: str = "ours", count: int = PICTURES) -> Dataset:
    rng = np.random.default_rng(seed)
    items = tuple(" ".join(rng.choice(["red", "fox", "sea", "oak"], 9)) for _ in range(count))
    return of(items, np.stack([tokenize(text) for text in items]), name)


def of(items, inputs, name: str) -> Dataset:
    count = len(inputs)
    return Dataset(
        name=name,
        modality="text" if isinstance(items, tuple) else "image",
        items=items,
        inputs=inputs,
        labels=np.arange(count, dtype=np.int64) % 6,
        domains=np.zeros(count, np.int64),
        groups=np.arange(count, dtype=np.int64),
        classes=tuple("abcdef"),
        domain_names=("all",),
        fingerprint=f"{name}-{count}",
        licences=(),
    )


@pytest.fixture(scope="module")
def ours() -> Dataset:
    return pictures(0, (1, 20, 20), 16)


@pytest.fixture(scope="module")
def streams(ours: Dataset) -> Streams:
    config = parse_config({"scenario": {"public_per_class": 3, "public": 0.2}}, "test")
    return build_scenario(ours, config.scenario, 0)


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch):
    """Let ``load_dataset`` know made-up data sets instead of the real ones."""

    def known(**datasets: Dataset) -> None:
        monkeypatch.setattr(module, "DATASETS", dict.fromkeys(datasets))
        monkeypatch.setattr(module, "load_dataset", lambda name, **how: datasets[name])

    return known


def drawn(ours: Dataset, streams: Streams, kind: str, seed: int = 0, **more) -> PublicSet:
    return public_set(Data(public=kind, **more), ours, streams, seed)


def test_the_same_data_set_gives_the_items_that_the_scenario_chose(ours, streams):
    found = drawn(ours, streams, "same")
    assert found.dataset is ours
    assert np.array_equal(found.rows, streams.public)
    assert np.array_equal(found.inputs, ours.inputs[streams.public])
    assert np.array_equal(found.items, ours.items[streams.public])


def test_no_data_gives_as_many_shapes_of_the_size_of_the_items(ours, streams):
    found = drawn(ours, streams, "none")
    assert found.items.shape == (len(streams.public), 1, 20, 20)
    assert found.inputs.shape == (len(streams.public), 1, 16, 16)
    assert found.items.dtype == found.inputs.dtype == np.uint8
    assert len({item.tobytes() for item in found.items}) == len(found.items)
    assert found.dataset.fingerprint != ours.fingerprint


def test_no_data_gives_words_where_the_data_are_texts(streams):
    found = drawn(texts(0), streams, "none")
    assert all(isinstance(text, str) and 3 <= len(text.split()) <= 12 for text in found.items)
    assert len(set(found.items)) == len(streams.public)
    assert found.inputs.shape == (len(streams.public), LENGTH)
    assert np.array_equal(found.inputs[0], tokenize(found.items[0]))


@pytest.mark.parametrize("kind", ["none", "other"])
def test_seed_decides_everything(ours, streams, others, kind):
    others(other=pictures(1, (3, 40, 40), 32, "other"))
    one, again, another = (drawn(ours, streams, kind, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.items, again.items) and np.array_equal(one.inputs, again.inputs)
    assert one.dataset.fingerprint == again.dataset.fingerprint
    assert not np.array_equal(one.inputs, another.inputs)
    if kind == "none":  # embeddings are kept by fingerprint
        assert one.dataset.fingerprint != another.dataset.fingerprint


@pytest.mark.parametrize("ask", [None, 7])
def test_another_data_set_is_brought_to_the_clients_shape(ours, streams, others, ask):
    other = pictures(1, (3, 40, 40), 32, "other")
    others(other=other)
    found = drawn(ours, streams, "other", public_items=ask)
    assert found.dataset is other and len(found.rows) == (ask or len(streams.public))
    assert np.all(np.diff(found.rows) > 0)
    assert found.items.shape[1:] == (3, 40, 40)  # the FM reads them as they are
    assert found.inputs.shape[1:] == (1, 16, 16) and found.inputs.dtype == np.uint8


def test_a_flat_picture_keeps_its_colour(streams, others):
    grey = np.full((PICTURES, 1, 16, 16), 90, np.uint8)
    others(other=of(grey, grey, "other"))
    ours = pictures(0, (3, 32, 32), 32)
    assert np.all(drawn(ours, streams, "other").inputs == 90)
    white = np.full((PICTURES, 3, 32, 32), 255, np.uint8)
    others(other=of(white, white, "other"))
    assert np.all(drawn(pictures(0, (1, 16, 16), 16), streams, "other").inputs == 255)


def test_texts_of_another_data_set_are_taken_as_they_are(streams, others):
    other = texts(5, "other")
    others(other=other)
    found = drawn(texts(0), streams, "other")
    assert found.items == tuple(other.items[row] for row in found.rows)
    assert np.array_equal(found.inputs, other.inputs[found.rows])


@pytest.mark.parametrize("kind", ["image", "text"])
def test_items_that_a_client_holds_are_refused(ours, streams, others, kind):
    dataset = ours if kind == "image" else texts(0)
    held = streams.clients[0].tasks[0].test[:2]
    rows = np.concatenate([held, streams.public])
    items = items_at(dataset, rows)
    copies = of(items, dataset.inputs[rows], "copies")
    others(copies=copies)
    message = f"found 2 of {len(rows)} items of 'copies' that are also in 'ours'"
    if kind == "text":  # so few words make some texts equal by chance
        message = "byte for byte"
    with pytest.raises(UserError, match=message):
        drawn(dataset, streams, "copies", public_items=len(rows))


def test_public_items_of_the_own_data_set_are_no_overlap(ours, streams, others):
    rows = streams.public
    others(copies=of(ours.items[rows], ours.inputs[rows], "copies"))
    assert len(drawn(ours, streams, "copies").rows) == len(rows)


def test_unknown_kinds_are_refused_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(module, "load_dataset", None)
    with pytest.raises(UserError, match=r"data.public: must be same, none, .*emoji.* 'fonds'"):
        check_public(Data(public="fonds"))
    for name in ("same", "none", "emoji", "hf:me/mine"):
        check_public(Data(public=name))


def test_what_does_not_fit_is_refused(ours, streams, others):
    others(small=of(ours.items[:5], ours.inputs[:5], "small"), words=texts(0, "words"))
    with pytest.raises(UserError, match=r"data.public: \d+ items are wanted, 'small' has 5; set"):
        drawn(ours, streams, "small")
    with pytest.raises(UserError, match=r"must be a data set of images as 'ours' is, .*of texts"):
        drawn(ours, streams, "words")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "emoji", "public": "emoji"}, 'must be "same" .*its name .emoji'),
        ({"public_items": 5}, "data.public_items: must be left out"),
        ({"public": "none", "public_items": 0}, "data.public_items: .*greater than or equal to 1"),
    ],
)
def test_contradictions_are_refused_by_the_config(data, message):
    with pytest.raises(UserError, match=message):
        parse_config({"data": data}, "test")


def test_leaves_cover_the_picture_in_many_colours():
    found = dead_leaves((3, 48, 32), 4, np.random.default_rng(0))
    assert found.shape == (4, 3, 48, 32)
    for picture in found:
        assert len(np.unique(picture.reshape(3, -1), axis=1).T) > 20
        # leaves are areas, not noise: most neighbours are equal
        assert (picture[:, 1:] == picture[:, :-1]).mean() > 0.5


def test_leaves_of_all_radii_fall_everywhere():
    found = dead_leaves((1, 32, 32), 300, np.random.default_rng(0))
    assert abs(found.mean() - 127.5) < 4  # colours are uniform
    assert np.ptp(found.mean((0, 1))) < 40  # and no place is preferred
