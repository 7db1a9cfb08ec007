import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fedbridge import data
from fedbridge.core.errors import UserError
from fedbridge.core.store import Part
from fedbridge.data import DATASETS, DataSource, load_dataset

SIZES = {"red": 3, "green": 2, "blue": 4}


def a_part(domain: str) -> Part:
    number = SIZES[domain]
    start = 10 * list(SIZES).index(domain)
    inputs = np.full((number, 1, 4, 4), start, np.uint8)
    return Part(
        domain=domain,
        items=inputs + 1,
        inputs=inputs,
        labels=np.arange(number) % 2,
        groups=np.arange(number) + start,
        classes=("a", "b"),
        licences=("shared", f"{domain} licence"),
        sources=(),
    )


class Toy:
    """A data set of three domains that counts how often each is prepared."""

    def __init__(self):
        self.prepared = []
        self.workspaces = []

    def prepare(self, domains, workspace):
        (workspace / "download").write_bytes(b"x")
        self.workspaces.append(workspace)
        for domain in domains:
            self.prepared.append(domain)
            yield a_part(domain)

    def entry(self) -> DataSource:
        return DataSource("a toy", parts=self.prepare, domains=tuple(SIZES), licences=("free",))


@pytest.fixture
def toy(monkeypatch) -> Toy:
    toy = Toy()
    monkeypatch.setitem(data.DATASETS, "toy", toy.entry())
    return toy


def test_all_domains_are_joined_in_their_declared_order(toy, tmp_path):
    dataset = load_dataset("toy", cache=tmp_path)
    assert dataset.name == "toy"
    assert dataset.modality == "image"
    assert dataset.domain_names == ("red", "green", "blue")
    assert dataset.domains.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert dataset.groups.tolist() == [0, 1, 2, 10, 11, 20, 21, 22, 23]
    assert dataset.labels.tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 1]
    assert dataset.inputs[:, 0, 0, 0].tolist() == [0, 0, 0, 10, 10, 20, 20, 20, 20]
    assert (dataset.items == dataset.inputs + 1).all()
    assert dataset.classes == ("a", "b")
    assert dataset.licences == ("shared", "red licence", "green licence", "blue licence")
    assert dataset.labels.dtype == dataset.domains.dtype == dataset.groups.dtype == np.int64


def test_chosen_domains_are_renumbered_in_the_order_asked_for(toy, tmp_path):
    dataset = load_dataset("toy", ("blue", "red"), tmp_path)
    assert dataset.domain_names == ("blue", "red")
    assert dataset.domains.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert dataset.groups.tolist() == [20, 21, 22, 23, 0, 1, 2]


def test_each_domain_is_prepared_once_and_only_when_asked_for(toy, tmp_path):
    load_dataset("toy", ("green",), tmp_path)
    load_dataset("toy", ("green",), tmp_path)
    assert toy.prepared == ["green"]
    load_dataset("toy", cache=tmp_path)
    assert toy.prepared == ["green", "red", "blue"]
    assert not any(workspace.exists() for workspace in toy.workspaces)
    assert sorted(path.name for path in (tmp_path / "data-v1" / "toy").iterdir()) == sorted(SIZES)


def test_a_single_domain_stays_memory_mapped(toy, tmp_path):
    dataset = load_dataset("toy", ("red",), tmp_path)
    assert isinstance(dataset.items, np.memmap)
    assert isinstance(dataset.inputs, np.memmap)


def test_the_fingerprint_names_content_and_choice(toy, tmp_path, monkeypatch):
    whole = load_dataset("toy", cache=tmp_path / "one").fingerprint
    assert load_dataset("toy", cache=tmp_path / "other").fingerprint == whole
    chosen = load_dataset("toy", ("red", "green"), tmp_path / "one").fingerprint
    turned = load_dataset("toy", ("green", "red"), tmp_path / "one").fingerprint
    assert len({whole, chosen, turned}) == 3


def test_the_cache_comes_from_the_environment(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path))
    load_dataset("toy")
    assert (tmp_path / "data-v1" / "toy" / "red" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("name", "domains", "message"),
    [
        ("toys", None, r"data\.name: must be one of digits, .*, found 'toys'"),
        ("toy", ("pink",), r"data\.domains: toy has the domains red, green, blue, found 'pink'"),
        ("toy", ("red", "red"), r"must name each domain once .* found \['red', 'red'\]"),
        ("toy", (), r"data\.domains: must name each domain once and at least one, found \[\]"),
    ],
)
def test_wrong_names_are_refused_before_any_work(toy, tmp_path, name, domains, message):
    with pytest.raises(UserError, match=message):
        load_dataset(name, domains, tmp_path)
    assert toy.prepared == []
    assert list(tmp_path.iterdir()) == []


def test_a_failed_preparation_leaves_no_domain_and_is_tried_again(toy, tmp_path, monkeypatch):
    def fail_at_green(domains, workspace):
        yield a_part("red")
        raise UserError("npm green@1: download failed")

    whole = data.DATASETS["toy"]
    monkeypatch.setitem(data.DATASETS, "toy", replace(whole, parts=fail_at_green))
    with pytest.raises(UserError, match="green@1"):
        load_dataset("toy", cache=tmp_path)
    assert [path.name for path in (tmp_path / "data-v1" / "toy").iterdir()] == ["red"]
    monkeypatch.setitem(data.DATASETS, "toy", whole)
    assert len(load_dataset("toy", cache=tmp_path)) == 9


def test_a_cache_that_cannot_be_written_is_named(toy, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file/data-v1/toy: cannot store here.*FEDBRIDGE_CACHE"):
        load_dataset("toy", cache=tmp_path / "file")


def test_damage_is_named_and_concerns_its_own_domain_alone(toy, tmp_path):
    load_dataset("toy", cache=tmp_path)
    path = tmp_path / "data-v1" / "toy" / "green" / "inputs.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    message = r"green/inputs\.npy: must have the sha256 .*; delete folder .*green and run again"
    with pytest.raises(UserError, match=message):
        load_dataset("toy", cache=tmp_path)
    assert load_dataset("toy", ("red", "blue"), tmp_path).domain_names == ("red", "blue")


def test_domains_whose_classes_differ_are_not_joined(toy, tmp_path, monkeypatch):
    load_dataset("toy", ("red",), tmp_path)
    renamed = replace(a_part("green"), classes=("a", "c"))
    entry = replace(data.DATASETS["toy"], parts=lambda domains, workspace: iter([renamed]))
    monkeypatch.setitem(data.DATASETS, "toy", entry)
    with pytest.raises(UserError, match="toy: its cached domains differ in their classes"):
        load_dataset("toy", ("red", "green"), tmp_path)


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_entry_can_be_listed(name):
    entry = DATASETS[name]
    assert entry.summary and entry.licences and entry.domains
    assert len(set(entry.domains)) == len(entry.domains)
    assert all(package.version and len(package.sha256) == 64
               for package in entry.packages if package.client != "apt")  # fmt: skip
    assert entry.megabytes == pytest.approx(sum(p.megabytes for p in entry.packages))


def test_listing_imports_no_heavy_package():
    code = (
        "import sys, fedbridge.data; "
        "print([n for n in ('torch', 'sklearn', 'PIL', 'scipy', 'resvg_py') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
