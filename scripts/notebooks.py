"""Execute the notebooks of docs/notebooks and keep them, with their results, for the site.

python scripts/notebooks.py [--out build/notebooks] [NAME ...]
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300  # for a cell, on a machine that is busy


def main() -> None:
    """Execute all notebooks, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "notebooks")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        if not chosen.names or path.stem in chosen.names:
            nbformat.write(executed(path), chosen.out / path.name)
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


if __name__ == "__main__":
    main()
