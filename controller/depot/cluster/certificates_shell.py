"""A certificate authority of the cluster's own and a certificate for each member, as PEM files."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["CertificateError", "issue"]

CA_CERT, CA_KEY = "ca.pem", "ca.key"
CA_DAYS = 3650
MEMBER_DAYS = 825
"""Lifetimes: a member's certificate is to be made anew now and then, the authority is not."""
_CLOCK_SKEW = datetime.timedelta(minutes=5)


class CertificateError(Exception):
    """What is there already cannot be used, or must not be replaced."""


def issue(
    folder: Path, names: Sequence[str], *, days: int = MEMBER_DAYS, now: datetime.datetime | None = None
) -> list[Path]:
    """Make `NAME.pem` and `NAME.key` for each member in a folder, and the authority if it is not there yet.

    Returns what was written. What exists is not touched: a member added later gets its certificate from the same
    authority. Raises CertificateError, OSError.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name == "ca":
            raise CertificateError("no member can be called ca: those files are the authority's")
        for path in (folder / f"{name}.pem", folder / f"{name}.key"):
            if path.exists():
                raise CertificateError(f"{path} exists; remove it first if {name} is to have a new certificate")
    written: list[Path] = []
    if (folder / CA_CERT).exists() or (folder / CA_KEY).exists():
        authority, key = _load_authority(folder)
    else:
        authority, key = _make_authority(now)
        written += [_write(folder / CA_CERT, _pem(authority)), _write_secret(folder / CA_KEY, key)]
    for name in names:
        own_key = ec.generate_private_key(ec.SECP256R1())
        certificate = _make_certificate(name, own_key, authority, key, now, days)
        written += [_write(folder / f"{name}.pem", _pem(certificate)), _write_secret(folder / f"{name}.key", own_key)]
    return written


def _load_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        authority = x509.load_pem_x509_certificate((folder / CA_CERT).read_bytes())
        key = serialization.load_pem_private_key((folder / CA_KEY).read_bytes(), password=None)
    except FileNotFoundError as error:
        raise CertificateError(f"{error.filename} is missing: certificates can only be made where both are") from None
    except ValueError as error:
        raise CertificateError(f"the authority in {folder} cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{folder / CA_KEY} is no key of ours")
    return authority, key


def _make_authority(now: datetime.datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "depot cluster")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    authority = (
        _builder(name, name, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return authority, key


def _make_certificate(
    member: str,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    days: int,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, member)])
    both_ways = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(name, authority.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(both_ways, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(member)]), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _write_secret(path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    """A key that only its owner can read, from its first moment on."""
    content = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path
