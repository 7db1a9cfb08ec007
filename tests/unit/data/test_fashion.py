import gzip
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbridge.core.errors import UserError
from fedbridge.data.catalog.fashion import CLASSES, prepare, read_idx

ROOT = "./usr/share/datasets/fashion-mnist"


def idx(array: np.ndarray) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return zipped(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def zipped(content: bytes) -> bytes:
    """Gzip without the time of day, which would give every test process other cases."""
    return gzip.compress(content, mtime=0)


def pictures(number: int, grey: int) -> np.ndarray:
    return np.full((number, 28, 28), grey, np.uint8)


@pytest.fixture
def files():
    return {
        f"{ROOT}/train-images-idx3-ubyte.gz": idx(pictures(3, 100)),
        f"{ROOT}/train-labels-idx1-ubyte.gz": idx(np.array([9, 0, 4], np.uint8)),
        f"{ROOT}/t10k-images-idx3-ubyte.gz": idx(pictures(2, 200)),
        f"{ROOT}/t10k-labels-idx1-ubyte.gz": idx(np.array([1, 1], np.uint8)),
        "./usr/share/doc/copyright": b"MIT",
    }


def test_train_and_test_pictures_follow_each_other_in_a_black_frame(registry, workspace, files):
    registry.add_apt("dataset-fashion-mnist", files)
    (part,) = prepare(("fashion",), workspace)
    assert part.inputs.shape == (5, 1, 32, 32)
    assert part.items is part.inputs
    assert part.inputs[:, 0, 16, 16].tolist() == [100, 100, 100, 200, 200]
    assert part.inputs.sum() == 28 * 28 * (3 * 100 + 2 * 200)
    assert not part.inputs[:, :, :2].any() and not part.inputs[:, :, :, -2:].any()
    assert part.labels.tolist() == [9, 0, 4, 1, 1]
    assert part.groups.tolist() == [0, 1, 2, 3, 4]
    assert len(CLASSES) == 10 and CLASSES[9] == "ankle-boot"


def test_a_package_without_a_file_is_refused(registry, workspace, files):
    del files[f"{ROOT}/t10k-labels-idx1-ubyte.gz"]
    registry.add_apt("dataset-fashion-mnist", files)
    with pytest.raises(UserError, match=r"must hold \['t10k-labels'\]"):
        list(prepare(("fashion",), workspace))


@settings(max_examples=25, deadline=None)
@given(shape=st.lists(st.integers(0, 4), min_size=1, max_size=3), seed=st.integers(0, 9))
def test_idx_files_are_read_as_they_were_written(tmp_path_factory, shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path = tmp_path_factory.mktemp("idx") / "a.gz"
    path.write_bytes(idx(array))
    np.testing.assert_array_equal(read_idx(path), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "must be a gzipped IDX file"),
        (zipped(b"abc")[:-9], "must be a gzipped IDX file"),
        (zipped(b""), "must be a gzipped IDX file"),
        (zipped(b"\0\0\x08\x03\0\0"), "must be a gzipped IDX file"),
        (zipped(b"\0\0\x0d\x01\0\0\0\x01x"), "must begin with 00 00 08, found 00 00 0d"),
        (zipped(b"\0\0\x08\x01\0\0\0\x02x"), r"must hold \[2\] bytes, found 1"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, content, message):
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"labels.gz: {message}"):
        read_idx(path)


def test_a_corrupt_stream_is_named(tmp_path):
    content = bytearray(idx(pictures(3, 7)))
    content[20] ^= 0xFF
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.gz: must be a gzipped IDX file") as caught:
        read_idx(tmp_path / "x.gz")
    assert isinstance(caught.value.__cause__, (OSError, EOFError, zlib.error))
