"""The cluster's certificate authority: made by `judicator --init`, kept by every judicator.

A certificate says three things that are relied upon: which cluster (O), which role (OU) and which
name (CN). The role stands among the alternative names too, as `judicator.khala`: a client that
insists on this name talks to a judicator whatever address it was reached at, and etcd admits no
other certificate. What a request asks for beside its public key is ignored; the authority decides.

Only here is `cryptography` imported, which costs a tenth of a second: processes load this module
when they make, sign or renew a certificate, never on the way of a task.
"""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from khala.model.dates import utc_now
from khala.model.errors import Rejected
from khala.pki.node import JUDICATOR, role_name

AUTHORITY_LIFE = timedelta(days=3650)
#: Clocks of hosts differ, by hours where a time zone or a battery is to blame; a certificate is
#: valid this long before it was made, or such a host loses its cluster at the next renewal.
SKEW = timedelta(days=1)


class Subject(Struct, frozen=True, kw_only=True):
    """Whom a certificate is for."""

    cluster: str
    name: str
    role: str
    #: Addresses it may be reached at; only judicators are reached at any.
    hosts: tuple[str, ...] = ()


class Signed(Struct, frozen=True, kw_only=True):
    certificate: bytes
    issued_at: datetime
    expires_at: datetime
    #: Of the public key.
    fingerprint: str


class Authority:
    """Signs what its callers have decided to sign."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, label: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(label, "authority", "Khala authority")
        now = utc_now()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(now + AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> Authority:
        """Out of PEM; raise `Rejected` if it is none, or the two do not belong together."""
        try:
            loaded = x509.load_pem_x509_certificate(certificate)
            private = serialization.load_pem_private_key(key, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Rejected(f"the authority's files cannot be read: {error}") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise Rejected("the authority's key is of another kind than Khala makes")
        if private.public_key() != loaded.public_key():
            raise Rejected("the authority's key does not belong to its certificate")
        return cls(loaded, private)

    @property
    def certificate(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key(self) -> bytes:
        return _pem(self._key)

    def sign(self, request: bytes, subject: Subject, life: timedelta) -> Signed:
        """A certificate for the public key of `request`; raise `Rejected` if it is no request, or
        whoever made it does not have the private key."""
        try:
            asked = x509.load_pem_x509_csr(request)
            proven = asked.is_signature_valid
            public = asked.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
            raise Rejected(f"csr: not a certificate request: {error}", field="csr") from error
        if not proven or not isinstance(public, ec.EllipticCurvePublicKey):
            raise Rejected("csr: not a request of Khala's kind", field="csr")
        now = utc_now()
        expires_at = min(now + life, self._certificate.not_valid_after_utc)
        serves = subject.role == JUDICATOR
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        purposes += [ExtendedKeyUsageOID.SERVER_AUTH] if serves else []
        hosts = subject.hosts if serves else ()
        names = [x509.DNSName(role_name(subject.role)), *map(_general_name, hosts)]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(subject.cluster, subject.role, subject.name))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(expires_at)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
            .sign(self._key, hashes.SHA256())
        )
        return Signed(
            certificate=certificate.public_bytes(serialization.Encoding.PEM),
            issued_at=now,
            expires_at=expires_at,
            fingerprint=_fingerprint(public),
        )


def make_key() -> bytes:
    """A new private key, in PEM."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def make_request(key: bytes) -> bytes:
    """A certificate request for a key of `make_key`, in PEM."""
    private = serialization.load_pem_private_key(key, None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise Rejected("the node's key is of another kind than Khala makes")
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _name(cluster: str, role: str, name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise Rejected(f"hosts: {host[:80]!r} is neither an address nor a name") from error


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
