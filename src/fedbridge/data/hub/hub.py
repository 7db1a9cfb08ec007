"""``hf:``: a data set of the Hugging Face hub, or a folder that its ``save_to_disk`` wrote."""

import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedbridge.config import Hub
from fedbridge.core.errors import UserError
from fedbridge.core.files import read_json
from fedbridge.core.store import (
    Part,
    content_fingerprint,
    read_part,
    storage_errors,
    write_parts,
)
from fedbridge.core.words import RULES
from fedbridge.data.hub.rows import Rows, read_rows
from fedbridge.data.readers.faults import listed
from fedbridge.data.readers.pixels import PIXELS

PREFIX = "hf:"
PATIENCE = 10  # seconds that the hub may take to answer


def hub_parts(name: str, hub: Hub, root: Path) -> list[Path]:
    """Return the folders of a data set's parts, one per domain, preparing them if need be.

    A folder is known by the fingerprints in it, a name on the hub by its revision: one that is
    left open means the newest when it was first prepared. Nothing is unpickled, and no script
    that a data set brings is run. Raises UserError if the data set cannot be had or used.
    """
    where, local, folder = _places(name, hub, root)
    if not folder.is_dir():
        with storage_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        with foreign_errors(name):
            splits, about = from_folder(local) if local.is_dir() else from_hub(where, hub)
            rows = read_rows(name, splits, hub)
        _store(rows, about, folder)
    parts = sorted(folder.iterdir())
    _require_whole(name, hub, parts)
    return parts


def _require_whole(name: str, hub: Hub, folders: list[Path]) -> None:
    """Raise UserError if rows cannot be used and must not be left out."""
    if hub.broken == "skip":
        return
    origins = [part.origin for part, _ in map(read_part, folders) if part.origin is not None]
    broken = [line for origin in origins for line in origin.broken]
    if broken:
        count = len(broken) + sum(len(origin.places) for origin in origins)
        raise UserError(
            f"data.name: {name}: of {count} rows {listed(broken)}. {hub.where}.broken = 'skip' "
            f"leaves them out"
        )


def must_ask_hub(name: str, hub: Hub, root: Path) -> bool:
    """Return whether a data set is one of the hub's that is not prepared yet; else as hub_parts."""
    _, local, folder = _places(name, hub, root)
    return not local.is_dir() and not folder.is_dir()


def _places(name: str, hub: Hub, root: Path) -> tuple[str, Path, Path]:
    """Return what follows ``hf:``, the same as a folder, and the folder of what is prepared."""
    where = name.removeprefix(PREFIX)
    local = Path(where).expanduser()
    identity: Any = folder_state(local, name) if local.is_dir() else owned_name(name)
    settings = hub.model_dump(mode="json", exclude={"broken"})
    told = [RULES, PIXELS, identity, settings]
    return where, local, root / content_fingerprint(told)[:32]


def chosen_parts(
    name: str, domains: tuple[str, ...] | None, parts: Iterable[tuple[Part, str]]
) -> list[tuple[Part, str]]:
    """Return the parts of these domains in this order, or all.

    Raises UserError if a domain is unknown or repeated.
    """
    stored = {part.domain: (part, mark) for part, mark in parts}
    chosen = tuple(stored) if domains is None else domains
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(stored):
        raise UserError(
            f"data.domains: {name} has the domains {', '.join(stored)}, each to be named once; "
            f"found {list(chosen)}"
        )
    return [stored[domain] for domain in chosen]


def folder_state(folder: Path, name: str) -> list[list[Any]]:
    """Return what identifies a folder's content: fingerprints, files and their sizes."""
    try:
        listing = folder / "dataset_dict.json"
        splits = read_json(listing, "data set")["splits"] if listing.is_file() else ["."]
        state = []
        for split in splits:
            told = read_json(folder / split / "state.json", "split")
            files = [folder / split / entry["filename"] for entry in told["_data_files"]]
            sizes = [path.stat().st_size for path in files]
            state.append([split, told["_fingerprint"], sizes])
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"data.name: {name}: must be a folder that `save_to_disk` of the package datasets "
            f"wrote ({type(error).__name__}: {error})"
        ) from error
    return state


def owned_name(name: str) -> str:
    """Return ``OWNER/NAME``; raise UserError if a name on the hub has another form."""
    where = name.removeprefix(PREFIX)
    owner, _, rest = where.partition("/")
    # a bare name such as "csv" would read the files of the current folder
    if not owner or not rest or "/" in rest or owner[0] in ".~":
        raise UserError(
            f"data.name: must be hf:OWNER/NAME or hf:DIR with a folder that exists, found {name!r}"
        )
    return where


def from_folder(folder: Path) -> tuple[dict[str, Any], tuple[str, str]]:
    """Return the splits of a folder, with the licence and source that it states."""
    splits = saved_splits(folder)
    licence = next((part.info.license for part in splits.values() if len(part)), "")
    marks = ", ".join(f"{split} {part._fingerprint}" for split, part in splits.items())
    return splits, (licence or "", f"folder written by save_to_disk ({marks})")


def saved_splits(folder: Path) -> dict[str, Any]:
    """Return the splits of a folder, one alone as ``all``; also those without any row.

    The package itself opens no folder with an empty split. Raises UserError as ``state_of`` does.
    """
    library = _library()
    rows = {split: sizes for split, _, sizes in folder_state(folder, str(folder))}
    return {
        "all" if split == "." else split: library.load_from_disk(str(folder / split))
        if sizes
        else library.Dataset.from_dict({})
        for split, sizes in rows.items()
    }


def from_hub(where: str, hub: Hub) -> tuple[dict[str, Any], tuple[str, str]]:
    """Return the splits of a data set on the hub, with its licence and its source."""
    library = _library()
    licence, commit = "", hub.revision
    if not library.config.HF_HUB_OFFLINE:
        commit, licence = _ask_hub(where, hub)
    found = library.load_dataset(where, hub.subset, revision=commit)
    first = next(iter(found.values()))
    source = f"Hugging Face hub, {where}, revision {commit or 'as cached'}"
    return dict(found), (licence or first.info.license or "", source)


def _ask_hub(where: str, hub: Hub) -> tuple[str, str]:
    """Return commit and licence; a hub that cannot be reached is reported at once."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi().dataset_info(where, revision=hub.revision, timeout=PATIENCE)
    except HfHubHTTPError as error:
        line = str(error).strip().splitlines()[0]
        raise UserError(f"data.name: the hub does not give {where}: {line}") from error
    except Exception as error:  # of whatever library it speaks HTTP with
        raise UserError(
            f"data.name: the Hugging Face hub cannot be reached for {where} ({error}); with "
            f"HF_HUB_OFFLINE=1 only what it gave before is used, and hf:DIR needs no network"
        ) from error
    card = info.card_data
    licence = card.get("license") if card is not None else None
    return str(info.sha), ", ".join([licence] if isinstance(licence, str) else licence or [])


def _library() -> Any:
    if importlib.util.find_spec("datasets") is None:
        raise UserError(
            "data.name: hf: needs the package 'datasets', which is missing; "
            'install it with: pip install "fedbridge[datasets]"'
        )
    return importlib.import_module("datasets")


@contextmanager
def foreign_errors(name: str) -> Iterator[None]:
    """Turn any exception of the package datasets into a UserError with its first line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        line = next(iter(str(error).strip().splitlines()), "")
        raise UserError(f"data.name: {name}: {type(error).__name__}: {line}") from error


def _store(rows: Rows, about: tuple[str, str], folder: Path) -> None:
    licence, source = about
    told = f"{rows.name}: {licence or 'no licence stated; ask its authors'}"
    write_parts(folder, lambda workspace: rows.parts(workspace, (told,), (source,)))
