"""Checks of certificates and keys; each returns what is right in words or raises UserError."""

import datetime as dt
import stat
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from fedbridge.core.errors import UserError
from fedbridge.deploy.keys import (
    names_of,
    read_certificate,
    read_client_key,
    read_private_pem,
    read_public_key,
)
from fedbridge.deploy.settings import ServerSettings

SOON = 30  # days


def authority(folder: Path) -> str:
    """Check the CA's certificate."""
    certificate = read_certificate(folder / "ca.crt")
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        basic = x509.BasicConstraints(ca=False, path_length=None)
    if not basic.ca:
        raise UserError(f"{folder / 'ca.crt'}: must be the certificate of an authority")
    return _validity(certificate, folder / "ca.crt", "nothing but a new deployment helps")


def authority_key(folder: Path) -> str:
    """Check that the CA's key is private and belongs to its certificate."""
    _belongs(folder / "ca.key", folder / "ca.crt")
    return "private, belongs to ca.crt"


def server_certificate(folder: Path, settings: ServerSettings) -> str:
    """Check that the CA has signed the server's certificate, its dates and its names."""
    path = folder / "server.pem"
    certificate = read_certificate(path)
    try:
        certificate.verify_directly_issued_by(read_certificate(folder / "ca.crt"))
    except (InvalidSignature, ValueError, TypeError) as error:
        raise UserError(f"{path}: must be signed by the CA of ca.crt, found another") from error
    names = names_of(certificate)
    if missing := [host for host in settings.hosts if host not in names]:
        raise UserError(
            f"{path}: must be for {', '.join(missing)}, found {', '.join(sorted(names))}; "
            "fedbridge deploy renew --host adds names"
        )
    words = _validity(certificate, path, "renew it: fedbridge deploy renew")
    return f"{words}, for {', '.join(settings.hosts)}"


def server_key(folder: Path) -> str:
    """Check that the server's key is private and belongs to its certificate."""
    _belongs(folder / "server.key", folder / "server.pem")
    return "private, belongs to server.pem"


def client_key(folder: Path) -> str:
    """Check that a client's key is private and belongs to its public key."""
    _require_private(folder / "key")
    if read_client_key(folder / "key").public_key() != read_public_key(folder / "key.pub"):
        raise UserError(f"{folder / 'key'}: must belong to key.pub, found the key of another")
    return "private, belongs to key.pub"


def registered_keys(folder: Path, settings: ServerSettings) -> str:
    """Check that the server has the public key of every client, and each another."""
    owners: dict[tuple[int, int], str] = {}
    for name in settings.clients:
        path = folder / "keys" / f"{name}.pub"
        numbers = read_public_key(path).public_numbers()
        owner = owners.setdefault((numbers.x, numbers.y), name)
        if owner != name:
            raise UserError(f"{path}: must differ from every other key, found that of {owner}")
    return f"one for each of {len(owners)} clients"


def same_key(server: Path, client: Path) -> str:
    """Check that the server holds the key that a client has."""
    path = server / "keys" / f"{client.name}.pub"
    if read_public_key(path) != read_public_key(client / "key.pub"):
        raise UserError(f"{path}: must be the same key as {client / 'key.pub'}, found another")
    return "the server has it"


def same_authority(one: Path, other: Path) -> str:
    """Check that two folders trust the same CA."""
    if read_certificate(one / "ca.crt") != read_certificate(other / "ca.crt"):
        raise UserError(f"{other / 'ca.crt'}: must be the same as in {one}, found another")
    return "the same as the server's"


def _belongs(key: Path, certificate: Path) -> None:
    _require_private(key)
    if read_private_pem(key).public_key() != read_certificate(certificate).public_key():
        raise UserError(f"{key}: must belong to {certificate.name}, found the key of another")


def _require_private(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise UserError(f"{path}: must be private, found mode {mode:04o}; chmod 600 {path}")


def _validity(certificate: x509.Certificate, path: Path, advice: str) -> str:
    now = dt.datetime.now(dt.UTC)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        raise UserError(f"{path}: valid from {begin:%Y-%m-%d %H:%M} UTC; is the clock right?")
    if now > end:
        raise UserError(f"{path}: must not have expired, found {end:%Y-%m-%d}; {advice}")
    left = (end - now).days
    return f"{left} days left" + (f"; {advice}" if left < SOON else "")
