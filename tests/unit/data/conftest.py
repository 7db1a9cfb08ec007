import io
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

# what the real clients do, as far as we use them: leave one archive in the current folder
NPM = """#!/bin/sh
for last; do :; done
echo "npm $last" >> "$FAKE_REGISTRY/log"
name=$(echo "$last" | tr '/@' '__')
cp "$FAKE_REGISTRY/$name.tgz" . || { echo 'npm error code E404' >&2; exit 1; }
"""
APT_GET = """#!/bin/sh
echo "apt $2" >> "$FAKE_REGISTRY/log"
cp "$FAKE_REGISTRY/$2.deb" . || { echo "E: Unable to locate package $2" >&2; exit 100; }
"""
DPKG_DEB = """#!/bin/sh
cat "$2"
"""


@dataclass(frozen=True)
class Registry:
    """Fake npm and apt registries in a folder, and a folder of wheels for the real pip."""

    folder: Path

    def add_npm(self, name: str, version: str, files: dict[str, bytes]) -> Path:
        return self._tar(f"{name}@{version}".replace("/", "_").replace("@", "_") + ".tgz", files)

    def add_apt(self, name: str, files: dict[str, bytes]) -> Path:
        return self._tar(f"{name}.deb", files)

    def add_wheel(self, name: str, version: str, files: dict[str, bytes]) -> Path:
        path = self.folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        info = f"{name.replace('-', '_')}-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            wheel.writestr(f"{info}/METADATA", metadata)
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            for member, content in files.items():
                wheel.writestr(member, content)
        return path

    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def _tar(self, file: str, files: dict[str, bytes]) -> Path:
        path = self.folder / file
        with tarfile.open(path, "w:gz") as tar:
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return path


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Registry:
    folder = tmp_path / "registry"
    programs = tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    for name, script in {"npm": NPM, "apt-get": APT_GET, "dpkg-deb": DPKG_DEB}.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_REGISTRY", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return Registry(folder)


@pytest.fixture
def workspace(tmp_path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder
