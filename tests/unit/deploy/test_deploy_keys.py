import datetime as dt
import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from fedbridge.core.errors import UserError
from fedbridge.deploy.keys import (
    names_of,
    new_authority,
    new_client_key,
    new_server_certificate,
    read_certificate,
    read_client_key,
    read_private_pem,
    read_public_key,
    write_private,
)


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    new_authority(tmp_path)
    new_server_certificate(tmp_path, tmp_path, ["fed.example.org", "10.0.0.7", "::1"], 30)
    return tmp_path


def test_a_client_key_is_of_the_curve_that_flower_takes(tmp_path: Path):
    new_client_key(tmp_path / "key", "hospital-a")
    assert read_client_key(tmp_path / "key").curve.name == "secp384r1"
    text = (tmp_path / "key.pub").read_text(encoding="ascii")
    assert text.startswith("ecdsa-sha2-nistp384 ") and text.endswith(" hospital-a\n")


def test_a_client_key_belongs_to_its_public_key(tmp_path: Path):
    new_client_key(tmp_path / "key", "a")
    public = read_client_key(tmp_path / "key").public_key()
    assert public == read_public_key(tmp_path / "key.pub")


def test_every_key_is_another(tmp_path: Path):
    new_client_key(tmp_path / "one", "a")
    new_client_key(tmp_path / "other", "a")
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_private_keys_are_private_whatever_the_umask(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        write_private(tmp_path / "key", b"secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_private_key_is_never_written_over(tmp_path: Path):
    write_private(tmp_path / "key", b"first")
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"first"


def test_openssl_believes_the_server(signed: Path):
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver"]
    done = subprocess.run(
        [*command, "-CAfile", signed / "ca.crt", signed / "server.pem"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_server_is_known_by_all_its_names(signed: Path):
    certificate = read_certificate(signed / "server.pem")
    assert names_of(certificate) == {"fed.example.org", "10.0.0.7", "::1"}
    assert names_of(read_certificate(signed / "ca.crt")) == set()


def test_a_server_can_sign_no_other(signed: Path):
    certificate = read_certificate(signed / "server.pem")
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert basic.critical and not basic.value.ca and not usage.key_cert_sign


def test_a_certificate_is_valid_as_long_as_asked(signed: Path):
    certificate = read_certificate(signed / "server.pem")
    now = dt.datetime.now(dt.UTC)
    assert certificate.not_valid_before_utc < now
    assert dt.timedelta(29) < certificate.not_valid_after_utc - now <= dt.timedelta(30)


def test_keys_belong_to_their_certificates(signed: Path):
    for key, certificate in (("ca.key", "ca.crt"), ("server.key", "server.pem")):
        public = read_private_pem(signed / key).public_key()
        assert public == read_certificate(signed / certificate).public_key()
        assert stat.S_IMODE((signed / key).stat().st_mode) == 0o600


READERS = [read_certificate, read_private_pem, read_client_key, read_public_key]


@pytest.mark.parametrize("content", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nAA==\n"])
@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_rubbish_is_told(tmp_path: Path, read, content: bytes):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match="file: must be a"):
        read(tmp_path / "file")


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_a_missing_file_is_told(tmp_path: Path, read):
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / "file")


def test_a_key_of_another_kind_is_told(tmp_path: Path):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(command, check=True, timeout=60)
    with pytest.raises(UserError, match="must be an ECDSA key, found Ed25519PrivateKey"):
        read_client_key(tmp_path / "key")
    with pytest.raises(UserError, match="must be an ECDSA key, found Ed25519PublicKey"):
        read_public_key(tmp_path / "key.pub")
