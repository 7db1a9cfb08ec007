import hashlib
import subprocess
import tarfile

import pytest

from fedbridge.core import packages
from fedbridge.core.errors import UserError
from fedbridge.core.packages import Package, fetch


def everything(name):
    return True


def found(fetched):
    paths = [path for path in fetched.folder.rglob("*") if path.is_file()]
    return {path.relative_to(fetched.folder).as_posix(): path.read_bytes() for path in paths}


def test_npm_unpacks_only_what_is_wanted_and_drops_the_archive(registry, workspace):
    registry.add_npm("@a/b", "1.2.0", {"package/x.txt": b"x", "package/y.bin": b"y"})
    fetched = fetch(Package("npm", "@a/b", 1.0, "1.2.0"), workspace, lambda n: n.endswith(".txt"))
    assert found(fetched) == {"package/x.txt": b"x"}
    assert not list(workspace.rglob("*.tgz"))
    assert registry.log() == ["npm @a/b@1.2.0"]


def test_source_names_package_version_and_sha256(registry, workspace):
    archive = registry.add_npm("a", "1.0.0", {"package/x": b"x"})
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    fetched = fetch(Package("npm", "a", 1.0, "1.0.0", digest), workspace, everything)
    assert fetched.source == f"npm a@1.0.0 (a_1.0.0.tgz, sha256 {digest})"


def test_apt_reads_the_tar_inside_the_package(registry, workspace):
    registry.add_apt("fonts-x", {"./usr/share/x.ttf": b"font", "./usr/share/doc/c": b"text"})
    fetched = fetch(Package("apt", "fonts-x", 1.0), workspace, lambda n: n.endswith(".ttf"))
    assert found(fetched) == {"usr/share/x.ttf": b"font"}


def test_pip_downloads_a_wheel_without_its_dependencies(registry, workspace):
    registry.add_wheel("some-pictures", "2.0.0", {"some_pictures/a.png": b"a"})
    package = Package("pip", "some-pictures", 1.0, "2.0.0")
    fetched = fetch(package, workspace, lambda name: name.endswith(".png"))
    assert found(fetched) == {"some_pictures/a.png": b"a"}


def test_pip_says_that_a_version_cannot_be_had(registry, workspace):
    with pytest.raises(UserError, match=r"pip some-pictures==9.0: download failed; is the net"):
        fetch(Package("pip", "some-pictures", 1.0, "9.0"), workspace, everything)


def test_another_archive_under_a_pinned_version_is_refused(registry, workspace):
    registry.add_npm("a", "1.0.0", {"package/x": b"x"})
    with pytest.raises(UserError, match=f"npm a@1.0.0: the archive's sha256 must be {'0' * 64}"):
        fetch(Package("npm", "a", 1.0, "1.0.0", "0" * 64), workspace, everything)
    assert not list(workspace.rglob("x"))


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (Package("npm", "a", 1.0, "1.0.0"), r"npm a@1.0.0: download failed; is the network.*E404"),
        (Package("apt", "fonts-x", 1.0), r"apt fonts-x: .*run `apt-get update` first"),
    ],
)
def test_a_failed_download_says_what_to_do(registry, workspace, package, message):
    with pytest.raises(UserError, match=message):
        fetch(package, workspace, everything)


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (Package("npm", "a", 1.0, "1"), r"npm a@1 is fetched with npm, which is missing: .*Node"),
        (Package("apt", "x", 1.0), r"apt x is fetched with apt-get, which is missing: .*Debian"),
    ],
)
def test_a_missing_client_is_named_with_its_remedy(
    monkeypatch, workspace, tmp_path, package, message
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=message):
        fetch(package, workspace, everything)


def test_a_missing_pip_is_named_with_its_remedy(monkeypatch, workspace):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"fetched with pip: run `python -m ensurepip`"):
        fetch(Package("pip", "x", 1.0, "1"), workspace, everything)


def test_a_client_that_hangs_is_given_up(monkeypatch, registry, workspace):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(packages.subprocess, "run", hang)
    with pytest.raises(UserError, match=r"npm a@1: no download within 1800 s"):
        fetch(Package("npm", "a", 1.0, "1"), workspace, everything)


def test_a_tar_member_that_climbs_out_is_refused(registry, workspace):
    registry.add_npm("a", "1", {"../../escaped": b"x"})
    with pytest.raises(UserError, match=r"npm a@1: .* cannot be unpacked"):
        fetch(Package("npm", "a", 1.0, "1"), workspace, everything)
    assert not (workspace.parent / "escaped").exists()


def test_a_tar_member_with_an_absolute_path_lands_inside(registry, workspace, tmp_path):
    registry.add_npm("a", "1", {f"{tmp_path}/escaped": b"x"})
    fetch(Package("npm", "a", 1.0, "1"), workspace, everything)
    assert not (tmp_path / "escaped").exists()


def test_links_are_never_unpacked(registry, workspace):
    path = registry.add_npm("a", "1", {"package/x": b"x"})
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(UserError, match=r"holds none of the files looked for"):
        fetch(Package("npm", "a", 1.0, "1"), workspace, everything)


@pytest.mark.parametrize("member", ["../escaped", "a/../../escaped", "/escaped"])
def test_a_wheel_member_that_climbs_out_is_refused(registry, tmp_path, workspace, member):
    registry.add_wheel("x", "1.0", {member: b"x"})
    with pytest.raises(UserError, match=r"pip x==1.0: .* would land outside the folder"):
        fetch(Package("pip", "x", 1.0, "1.0"), workspace, everything)
    assert not list(tmp_path.rglob("escaped"))


def test_a_broken_archive_is_named(registry, workspace):
    (registry.folder / "a_1.tgz").write_bytes(b"this is no archive")
    with pytest.raises(UserError, match=r"npm a@1: a_1.tgz cannot be unpacked"):
        fetch(Package("npm", "a", 1.0, "1"), workspace, everything)


def test_labels_are_written_as_each_client_writes_them():
    assert Package("pip", "a", 1.0, "2").label == "pip a==2"
    assert Package("npm", "a", 1.0, "2").label == "npm a@2"
    assert Package("apt", "a", 1.0).label == "apt a"
