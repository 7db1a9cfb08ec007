from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import fedbridge
from fedbridge.core.states import infinity, misfit, owned, placeholder, read_state, settled

WANTED = {"weight": torch.empty(2, 3, device="meta"), "count": torch.empty((), dtype=torch.int64)}
FITTING = {"weight": torch.ones(2, 3), "count": torch.tensor(4)}
MISFITS: dict[str, tuple[dict[str, Tensor], str]] = {
    "missing": ({"weight": torch.ones(2, 3)}, "'count' must be there, found 1 arrays without it"),
    "unknown": ({**FITTING, "x": torch.ones(1)}, "must have 2 arrays, found one more: 'x'"),
    "shape": (
        {**FITTING, "weight": torch.ones(3, 2)},
        "'weight' must have shape (2, 3), found (3, 2)",
    ),
    "absurd shape": (
        {**FITTING, "weight": torch.ones([1] * 60)},
        "'weight' must have shape (2, 3), found (1, 1, 1, 1, 1, 1, ...)",
    ),
    "type": (
        {**FITTING, "count": torch.tensor(4.0)},
        "'count' must be torch.int64, found torch.float32",
    ),
    "nan": (
        {**FITTING, "weight": torch.ones(2, 3).index_fill(0, torch.tensor(1), torch.nan)},
        "'weight' must be finite, found nan",
    ),
    "infinite": (
        {**FITTING, "weight": torch.full((2, 3), -torch.inf)},
        "'weight' must be finite, found -inf",
    ),
}


def test_what_begins_infinite_may_be_infinite_but_no_nan():
    wanted = {"weight": torch.ones(3), "mask": torch.tensor([0.0, -torch.inf, 0.0])}
    fitting = {"weight": torch.zeros(3), "mask": torch.tensor([-torch.inf, 1.0, torch.inf])}
    assert misfit(fitting, wanted) is None
    assert misfit({**fitting, "mask": torch.full((3,), torch.nan)}, wanted) == (
        "'mask' must be finite, found nan"
    )
    assert misfit({**fitting, "weight": torch.full((3,), torch.inf)}, wanted) == (
        "'weight' must be finite, found inf"
    )
    assert placeholder(wanted["mask"]) and not placeholder(wanted["weight"])
    assert not placeholder(torch.empty(3, device="meta")) and not placeholder(torch.tensor(3))


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_said(case: str):
    found, said = MISFITS[case]
    assert misfit(found, WANTED) == said


def test_what_fits_fits():
    assert misfit(FITTING, WANTED) is None
    assert misfit({}, {}) is None


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.bfloat16, torch.float64]
)
def test_values_that_are_no_numbers_are_found_in_all_types(dtype: torch.dtype):
    array = torch.tensor([1.0, torch.nan]).to(dtype)
    said = infinity({"a": torch.ones(2, dtype=dtype), "b": array})
    assert said == "'b' must be finite, found nan"


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_types_without_such_values_are_finite(dtype: torch.dtype):
    assert infinity({"a": torch.ones(2, dtype=dtype), "b": torch.zeros(0, dtype=dtype)}) is None


def test_numbers_whose_sum_is_too_large_are_finite_all_the_same():
    large = torch.full((4,), 3e38)
    assert infinity({"a": large}) is None
    assert infinity({"a": torch.cat([large, torch.tensor([torch.inf])])}) is not None


# -- where arrays lie

CHANNELS_LAST = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)


def astray(values: Tensor) -> Tensor:
    """Return the same values at an address that is no multiple of 64."""
    found = torch.empty(len(values) + 1, dtype=values.dtype)[1:]
    return found.copy_(values)


def lies_well(tensor: Tensor) -> bool:
    return tensor.is_contiguous() and tensor.data_ptr() % 64 == 0


@pytest.mark.parametrize("name", ["model.py", "in.a.message", "state"])
def test_what_was_read_lies_as_what_was_computed(tmp_path: Path, name: str) -> None:
    """The header of such a file is a multiple of 8 bytes, and so are the arrays' places in it."""
    arrays = {f"{name}{i}": torch.randn(i) for i in range(1, 40)}
    save_file(arrays, tmp_path / "state.safetensors")
    found = read_state(tmp_path / "state.safetensors")
    assert found.keys() == arrays.keys()
    assert all(torch.equal(found[key], arrays[key]) for key in arrays)
    assert all(lies_well(tensor) for tensor in found.values())


def test_an_owned_array_is_another_with_the_same_values() -> None:
    weight = torch.nn.Parameter(astray(torch.arange(5.0)))
    found = owned(weight)
    assert torch.equal(found, torch.arange(5.0)) and lies_well(found) and not found.requires_grad
    assert torch.equal(owned(CHANNELS_LAST), CHANNELS_LAST) and lies_well(owned(CHANNELS_LAST))
    assert lies_well(owned(torch.randn(3, 5).T))


def test_only_what_lies_otherwise_is_copied() -> None:
    state = {"plain": torch.ones(3), "astray": astray(torch.ones(3)), "turned": CHANNELS_LAST}
    found = settled(state)
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert all(lies_well(tensor) for tensor in found.values())
    assert found["plain"] is state["plain"]


def test_files_are_read_in_one_place_only() -> None:
    """Whoever reads arrays by themselves gets them where the file has them."""
    package = Path(str(fedbridge.__file__)).parent
    found = [p.name for p in package.rglob("*.py") if "load_file" in p.read_text(encoding="utf-8")]
    assert found == ["states.py"]
