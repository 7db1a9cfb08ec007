"""Execute the notebooks of docs/notebooks and keep them, with their results, for the site.

A cell that fails or complains, and a notebook that shows nothing, is an error.

python scripts/notebooks.py [--out build/notebooks] [NAME ...]
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300  # for a cell, on a machine that is busy
LEAST = 3
PICTURES = {"image/svg+xml", "text/markdown"}


def main() -> None:
    """Execute all notebooks, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "notebooks")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        if not chosen.names or path.stem in chosen.names:
            notebook = executed(path)
            if wrong := faults(notebook):
                sys.exit("\n".join(f"{path}: {fault}" for fault in wrong))
            nbformat.write(notebook, chosen.out / path.name)
            print(chosen.out / path.name)


def executed(path: Path) -> nbformat.NotebookNode:
    """Return a notebook with its results; it runs in an empty folder, which is removed.

    Raises nbclient's CellExecutionError, with the traceback, if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    return notebook


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what is wrong with the results of a notebook that was executed."""
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    kinds = {kind for output in shown for kind in output.get("data", ())}
    complaints = [output["text"] for output in shown if output.get("name") == "stderr"]
    return [
        *(f"must not complain, found {text!r}" for text in complaints),
        *([] if len(shown) >= LEAST else [f"must show {LEAST} results, found {len(shown)}"]),
        *([] if kinds & PICTURES else ["must show a picture or a table, found none"]),
    ]


if __name__ == "__main__":
    main()
