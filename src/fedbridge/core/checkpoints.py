"""Folders of state by step, each of which counts only once its manifest, written last, is there."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from fedbridge.core.errors import UserError
from fedbridge.core.files import PARTIAL, json_text, read_json, write_text, writing, written_folder
from fedbridge.core.saved import MANIFEST, digests

MISFIT = (LookupError, ValueError, TypeError, AttributeError, RuntimeError, OSError)


class Checkpoints:
    """The newest ``keep`` states in a folder, by step."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def folder_of(self, step: int) -> Path:
        """Return where the state of a step lies, or would lie."""
        return self.folder / f"step-{step:04d}"

    def steps(self) -> list[int]:
        """Return the steps of which there are states, whole or damaged, ascending."""
        names = [path.name.removeprefix("step-") for path in self.folder.glob("step-*")]
        return sorted(int(name) for name in names if name.isdecimal())

    @contextmanager
    def write(self, step: int, also: Sequence[Path] = ()) -> Iterator[Path]:
        """Yield a folder to write a step's state into; it counts only if the block succeeds.

        Files named in ``also`` are copied into it if they exist. States of later steps, which
        came from another past, go, and all but the newest. Raises UserError when the disk is
        full; what was there before stays whole.
        """
        final = self.folder_of(step)
        for torn in self.folder.glob(f"step-*{PARTIAL}"):  # by a kill, at whatever step
            shutil.rmtree(torn, ignore_errors=True)
        with writing(final), written_folder(final) as draft:
            yield draft
            for path in also:
                if path.exists():
                    shutil.copyfile(path, draft / path.name)
            listed = {"step": step, "files": digests(draft)}
            write_text(draft / MANIFEST, json_text(listed))
        steps = self.steps()
        before = steps[: steps.index(step) + 1]
        for old in {*steps} - {*before[-self.keep :]}:
            shutil.rmtree(self.folder_of(old))

    def damage(self, step: int) -> list[str]:
        """Return what is wrong with each file of a state, nothing if it is whole."""
        folder = self.folder_of(step)
        try:
            listed = read_json(folder / MANIFEST, "manifest")["files"].items()
        except (UserError, KeyError, AttributeError) as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return [f"{MANIFEST} is missing"]
            return [f"{MANIFEST} cannot be read"]
        found = digests(folder)
        return [
            f"{name} " + ("has changed" if name in found else "is missing")
            for name, digest in listed
            if found.get(name) != digest
        ]


@contextmanager
def taking_up(folder: Path) -> Iterator[None]:
    """Turn errors at loading a whole state into a UserError: it is of other settings."""
    try:
        yield
    except (*MISFIT, SafetensorError) as error:
        line = next(iter(str(error).splitlines()), "")
        raise UserError(
            f"{folder}: must fit the settings, which are others than those that it was written "
            f"with: {type(error).__name__}: {line}"
        ) from error
