"""Run configs/quickstart.toml into runs/quickstart, or configs/digits.toml if data are missing.

.venv/bin/python scripts/quickstart.py
"""

import logging
import os
import shutil
import sys
from pathlib import Path

from fedbridge.core.errors import UserError
from fedbridge.data import DATASETS, load_dataset
from fedbridge.methods.files import load_config

ROOT = Path(__file__).resolve().parent.parent
OUT = Path("runs/quickstart")
FORMER = Path("runs/quickstart.former")


def main() -> None:
    """Choose the config, make room, and become ``fedbridge run``."""
    os.chdir(ROOT)
    logging.basicConfig(format="  %(message)s")
    logging.getLogger("fedbridge").setLevel(logging.INFO)  # says what is being downloaded
    config = available(Path("configs/quickstart.toml"), Path("configs/digits.toml"))
    make_room()
    command = [sys.executable, "-m", "fedbridge.cli.main", "run", str(config), "--out", str(OUT)]
    print(f"fedbridge run {config} --out {OUT}", flush=True)
    os.execv(command[0], command)


def available(wished: Path, embedded: Path) -> Path:
    """Return the config wished for if its data can be had, else the one that downloads nothing."""
    data = load_config(wished).data
    print(f"{data.name}: preparing {', '.join(data.domains or DATASETS[data.name].domains)}")
    try:
        dataset = load_dataset(data.name, data.domains)
    except UserError as error:
        print(f"{error}\nSo {wished} cannot run here; {embedded}, which downloads nothing, does.")
        return embedded
    print("\n".join(f"  {licence}" for licence in dataset.licences))
    return wished


def make_room() -> None:
    """Move a former run aside; of those moved aside the newest is kept."""
    if OUT.exists():
        shutil.rmtree(FORMER, ignore_errors=True)
        OUT.rename(FORMER)
        print(f"the former run is now {FORMER}")


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
