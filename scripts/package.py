"""Build the wheel and the source archive, check what is in them, and try the wheel.

python scripts/package.py            as every change is checked: without a network
python scripts/package.py --release  also from nothing: all extras resolve, all is installed anew
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
PINS = ROOT / "requirements" / "constraints.txt"
NEEDED = ("PKG-INFO", "LICENSE", "README.md", "pyproject.toml", "CHANGELOG.md", "CITATION.cff")
TINY = """\
name = "tiny"
scenario = { clients = 2, tasks = 1, classes_per_task = 2, train_per_class = 12 }
large = { model = "patches", size = 16 }
small = { models = ["mlp"] }
training = { rounds = 1, epochs = 1 }
engine = { workers = 0, device = "cpu" }
"""


def main() -> None:
    """Build, check and try; end with a line that says what is wrong, if anything is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", action="store_true", help="also as a user installs it")
    release = parser.parse_args().release
    with TemporaryDirectory() as folder:
        wheel, archive = built(Path(folder))
        wrong = [*wheel_faults(names_in_wheel(wheel)), *archive_faults(names_in_archive(archive))]
        if wrong:
            sys.exit("\n".join(wrong))
        run(sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(archive))
        tried(wheel, Path(folder), release)
        if release:
            resolved(wheel, extras())
        DIST.mkdir(exist_ok=True)
        for path in (wheel, archive):
            print(shutil.copy(path, DIST))


def built(folder: Path) -> tuple[Path, Path]:
    """Build the archive, and from it the wheel, in a folder."""
    command = ("-m", "build", "--no-isolation", "--outdir", str(folder / "dist"))
    run(sys.executable, *command, str(clean_copy(folder)))
    (wheel,), (archive,) = (list((folder / "dist").glob(end)) for end in ("*.whl", "*.tar.gz"))
    return wheel, archive


def clean_copy(folder: Path) -> Path:
    """Copy what belongs into the archive, so that nothing that was built before gets into it."""
    copy = folder / "source"
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", copy / "src", ignore=skipped)
    for name in (*NEEDED[1:], "MANIFEST.in"):
        shutil.copy(ROOT / name, copy)
    return copy


def sources() -> set[str]:
    """Return all files of the package, code and data, as the wheel must have them."""
    package = ROOT / "src" / "fedbridge"
    paths = (p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {path.relative_to(package.parent).as_posix() for path in paths}


def names_in_wheel(wheel: Path) -> set[str]:
    """Return the files of a wheel."""
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def names_in_archive(archive: Path) -> set[str]:
    """Return the files of a source archive, without the folder that holds them all."""
    with tarfile.open(archive) as file:
        return {member.name.partition("/")[2] for member in file if member.isfile()}


def wheel_faults(found: Iterable[str]) -> list[str]:
    """Return what a wheel lacks, and what it has but must not have."""
    about = {name for name in found if ".dist-info/" in name}
    missing = sorted(sources() - set(found))
    licences = [name for name in about if name.endswith("/licenses/LICENSE")]
    beyond = sorted(set(found) - sources() - about)
    return [
        *(f"wheel: must hold {name}" for name in missing),
        *(f"wheel: must not hold {name}" for name in beyond),
        *([] if licences else ["wheel: must hold the licence"]),
    ]


def archive_faults(found: Iterable[str]) -> list[str]:
    """Return what a source archive lacks."""
    package = {f"src/{name}" for name in sources()}
    missing = sorted({*NEEDED, *package} - set(found))
    return [f"source archive: must hold {name}" for name in missing]


def tried(wheel: Path, folder: Path, anew: bool) -> None:
    """Install the wheel into a new environment and use it from elsewhere.

    What it depends on is that of this environment, or with ``anew`` installed from the index.
    """
    place = folder / "environment"
    run(sys.executable, "-m", "venv", *(() if anew else ("--without-pip",)), str(place))
    python, program = place / "bin" / "python", place / "bin" / "fedbridge"
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet")
    options = ("--constraint", str(PINS)) if anew else ("--no-deps", "--no-index")
    run(*pip, "--disable-pip-version-check", *options, str(wheel))
    if not anew:
        own = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
        (own / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    where = "import fedbridge, sys; sys.exit(not fedbridge.__file__.startswith(sys.prefix))"
    work = folder / "work"
    work.mkdir()
    (work / "tiny.toml").write_text(TINY, encoding="utf-8")
    run(str(python), "-c", where, cwd=work)
    run(str(program), "--version", cwd=work)
    run(str(program), "list", "models", cwd=work)
    run(str(program), "run", "tiny.toml", "--quiet", cwd=work)  # writes a page from its template
    if not anew:  # which has no extra
        init = ("deploy", "init", "federation", "--clients", "one,two")
        run(str(program), *init, cwd=work)


def extras() -> list[str]:
    """Return the names of all extras."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return list(tomllib.load(file)["project"]["optional-dependencies"])


def resolved(wheel: Path, wanted: Iterable[str]) -> None:
    """Have pip find versions of all that some extras need together, installing nothing."""
    options = ("--dry-run", "--ignore-installed", "--quiet", "--constraint", str(PINS))
    run(sys.executable, "-m", "pip", "install", *options, f"{wheel}[{','.join(wanted)}]")


def run(*command: str, cwd: Path = ROOT) -> None:
    """Carry out a command, without what the environment says of where Python modules are."""
    print("$", " ".join(command), flush=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, check=False)
    if done.returncode:
        sys.exit(f"package: {command[0]} ended with exit code {done.returncode}")


if __name__ == "__main__":
    main()
