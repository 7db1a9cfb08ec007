"""Certificates for the server, and key pairs by which clients are known to it."""

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedbridge.core.errors import UserError

UNREADABLE = (OSError, ValueError, TypeError, UnsupportedAlgorithm)
AUTHORITY_DAYS = 3650
PRIVATE = 0o600
SLOW_CLOCKS = dt.timedelta(hours=1)  # a site whose clock is behind still believes the certificate


def write_private(path: Path, content: bytes) -> None:
    """Write what only its owner may read; it is never readable by others, not even at first."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, PRIVATE)  # whatever the umask has left
        file.write(content)


def new_client_key(path: Path, client: str) -> None:
    """Write a key pair as ``path`` and ``path.pub``, in OpenSSH's format as Flower wants it."""
    key = ec.generate_private_key(ec.SECP384R1())
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_name(f"{path.name}.pub").write_bytes(public + f" {client}\n".encode())


def new_authority(folder: Path) -> None:
    """Write a certificate authority as ``ca.crt`` and ``ca.key``."""
    key, name = ec.generate_private_key(ec.SECP384R1()), _name("fedbridge CA")
    draft = _draft(name, key.public_key(), name, key, AUTHORITY_DAYS)
    draft = draft.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    draft = draft.add_extension(_usage(authority=True), critical=True)
    _write_signed(draft, key, folder / "ca.crt")
    write_private(folder / "ca.key", _pem(key))


def new_server_certificate(authority: Path, folder: Path, hosts: Sequence[str], days: int) -> None:
    """Write ``server.pem`` and ``server.key``, valid for these hosts and signed by an authority.

    Raises UserError if the authority cannot be read.
    """
    signer, key = read_private_pem(authority / "ca.key"), ec.generate_private_key(ec.SECP384R1())
    issuer = read_certificate(authority / "ca.crt").subject
    draft = _draft(_name(hosts[0]), key.public_key(), issuer, signer, days)
    draft = draft.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    draft = draft.add_extension(_usage(authority=False), critical=True)
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    draft = draft.add_extension(names, critical=False)
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    draft = draft.add_extension(purpose, critical=False)
    _write_signed(draft, signer, folder / "server.pem")
    write_private(folder / "server.key", _pem(key))


def read_certificate(path: Path) -> x509.Certificate:
    """Return a certificate; raise UserError if it cannot be read."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except UNREADABLE as error:
        raise UserError(f"{path}: must be a certificate in PEM: {_reason(error)}") from error


def read_private_pem(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return a server's or an authority's key; raise UserError if it cannot be read."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except UNREADABLE as error:
        raise UserError(f"{path}: must be a private key in PEM: {_reason(error)}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UserError(f"{path}: must be a key on an elliptic curve, found {type(key).__name__}")
    return key


def read_client_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return a client's private key; raise UserError if it is none that Flower takes."""
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except UNREADABLE as error:
        raise UserError(f"{path}: must be a private key of OpenSSH: {_reason(error)}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UserError(f"{path}: must be an ECDSA key, found {type(key).__name__}")
    return key


def read_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Return a client's public key; raise UserError if it is none that Flower takes."""
    try:
        key = load_ssh_public_key(path.read_bytes())
    except UNREADABLE as error:
        raise UserError(f"{path}: must be a public key of OpenSSH: {_reason(error)}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UserError(f"{path}: must be an ECDSA key, found {type(key).__name__}")
    return key


def names_of(certificate: x509.Certificate) -> set[str]:
    """Return the hosts that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = names.get_values_for_type(x509.IPAddress)
    return {*names.get_values_for_type(x509.DNSName), *map(str, addresses)}


def _draft(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    days: int,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return (
        x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
        .not_valid_before(now - SLOW_CLOCKS)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(above, critical=False)
    )


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _write_signed(
    draft: x509.CertificateBuilder, signer: ec.EllipticCurvePrivateKey, path: Path
) -> None:
    path.write_bytes(draft.sign(signer, hashes.SHA384()).public_bytes(Encoding.PEM))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
