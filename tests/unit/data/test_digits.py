import numpy as np
import pytest
from sklearn.datasets import load_digits

from fedbridge.data import load_dataset
from fedbridge.data.catalog.digits import enlarge


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_dataset("digits", cache=tmp_path_factory.mktemp("cache"))


def test_all_1797_digits_are_there(digits):
    assert digits.inputs.shape == (1797, 1, 16, 16)
    assert digits.inputs.dtype == np.uint8
    assert digits.items is digits.inputs
    assert digits.classes == tuple(f"digit-{n}" for n in range(10))
    assert digits.domain_names == ("digits",)
    np.testing.assert_array_equal(digits.labels, load_digits().target)
    np.testing.assert_array_equal(digits.groups, np.arange(1797))
    assert not digits.domains.any()


def test_pictures_are_those_of_scikit_learn_enlarged(digits):
    for number in (0, 17, 1796):
        original = load_digits().images[number] * (255 / 16)
        shrunk = digits.inputs[number, 0].reshape(8, 2, 8, 2).mean((1, 3))
        # bilinear enlargement blurs, but stays close to the picture it came from
        assert np.corrcoef(shrunk.ravel(), original.ravel())[0, 1] > 0.97


def test_enlarging_a_flat_picture_gives_a_flat_picture():
    np.testing.assert_array_equal(enlarge(np.full((8, 8), 16.0)), np.full((16, 16), 255))
    np.testing.assert_array_equal(enlarge(np.full((8, 8), 8.0)), np.full((16, 16), 128))
    np.testing.assert_array_equal(enlarge(np.zeros((8, 8))), np.zeros((16, 16)))


def test_preparing_twice_gives_the_same_fingerprint(digits, tmp_path):
    assert load_dataset("digits", cache=tmp_path).fingerprint == digits.fingerprint
