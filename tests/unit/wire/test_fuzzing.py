"""A few thousand of the inputs of scripts/fuzz_messages.py; more are tried by make fuzz."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "fuzz_messages.py"


@pytest.fixture(scope="module")
def fuzzing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_messages", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_but_a_users_error_comes_of_bytes_that_nobody_should_send(
    fuzzing: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    before = fuzzing.memory()
    outcomes, faults = fuzzing.fuzz(seed=1, first=0, count=3000)
    assert faults == []
    assert fuzzing.memory() - before < fuzzing.MOST_MEMORY
    reached = {"Upload taken in", "Upload refused", "Evaluation refused", "Hello taken in"}
    assert reached <= outcomes.keys()  # inputs get past the reader, too


def test_an_input_can_be_tried_again(fuzzing: ModuleType):
    assert fuzzing.input_of(3, 77) == fuzzing.input_of(3, 77) != fuzzing.input_of(3, 78)


def test_what_is_valid_is_taken_in(fuzzing: ModuleType):
    for kind, data in fuzzing.BYTES.items():
        assert f"{kind} taken in" in list(fuzzing.survived(data))


def test_a_fault_is_told_with_what_repeats_it(
    fuzzing: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fuzzing, "survived", lambda data: 1 / 0)
    _, (fault,) = fuzzing.fuzz(seed=0, first=5, count=1)
    assert fault.startswith("--seed 0 --first 5 --inputs 1, ") and "ZeroDivisionError" in fault
    assert (tmp_path / "fuzz-0-5.bin").read_bytes() == fuzzing.input_of(0, 5)
