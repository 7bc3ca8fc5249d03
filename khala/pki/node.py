"""What a node keeps of the cluster's certificates, and the TLS it speaks with them.

A folder for each role, `<data-dir>/tls/<role>`:

    ca.crt            the authority's certificate: whom this node believes
    node.pem          its private key and its certificate, in one file so that they always match
    certificate.json  whose they are, and from when to when: for renewal, and for people
    ca.key            judicators only: signs certificates
    mongodb.key       judicators only: what the members of the replica set show each other

All of them are 0600 and replaced as a whole. A process notices a new `node.pem` and uses it for
its next connections; those that are open stay.
"""

from __future__ import annotations

import os
import ssl
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.model.errors import Rejected

JUDICATOR, EXECUTOR, GATEWAY = "judicator", "executor", "gateway"
ROLES = (EXECUTOR, GATEWAY, JUDICATOR)
#: Renewed when this part of its life is over.
RENEW_AT = 2 / 3


def role_name(role: str) -> str:
    """The alternative name that says a certificate's role."""
    return f"{role}.khala"


#: What every client insists on, whatever address it was given.
SERVER_NAME = role_name(JUDICATOR)


class Certificate(Struct, frozen=True, kw_only=True):
    """`certificate.json`."""

    cluster: str
    name: str
    role: str
    hosts: tuple[str, ...] = ()
    #: RPC addresses of the judicators that were there when this node joined.
    judicators: tuple[str, ...] = ()
    issued_at: datetime
    expires_at: datetime

    @property
    def renew_at(self) -> datetime:
        return self.issued_at + (self.expires_at - self.issued_at) * RENEW_AT


class Peer(Struct, frozen=True, kw_only=True):
    """Whose certificate was shown, and verified."""

    cluster: str
    name: str
    role: str


class NodeTls:
    """The certificate of one role in one data directory, and TLS contexts that follow it."""

    def __init__(self, data_dir: Path, role: str) -> None:
        self.role = role
        self.folder = data_dir / "tls" / role
        self.authority_file = self.folder / "ca.crt"
        self.node_file = self.folder / "node.pem"
        self.authority_key_file = self.folder / "ca.key"
        self.mongodb_key_file = self.folder / "mongodb.key"
        self._description = self.folder / "certificate.json"
        self._server: ssl.SSLContext | None = None
        self._client: ssl.SSLContext | None = None
        self._stamp: tuple[int, int] | None = None

    @property
    def exists(self) -> bool:
        """The description is written last: what is without it is no identity yet."""
        try:
            return self._description.exists()
        except PermissionError as error:
            raise Rejected(
                f"--data-dir: {self._description} cannot be looked at by user {os.geteuid()}; start"
                " as the owner of the directory, or give another --data-dir",
                field="--data-dir",
            ) from error

    @property
    def certificate(self) -> Certificate:
        """Raise `Rejected` if it cannot be read."""
        try:
            return msgspec.json.decode(self._description.read_bytes(), type=Certificate)
        except (OSError, msgspec.MsgspecError) as error:
            raise Rejected(
                f"--data-dir: {self._description} cannot be read ({error}); restore it, or remove"
                f" {self.folder} and join again with a new token",
                field="--data-dir",
            ) from error

    def keep(self, key: bytes, signed: bytes, certificate: Certificate) -> None:
        """Replace key and certificate."""
        write_secret(self.node_file, key + signed)
        write_secret(self._description, msgspec.json.encode(certificate))

    def read_node(self) -> tuple[bytes, bytes]:
        """Key and certificate, apart."""
        content = self.node_file.read_bytes()
        cut = content.index(b"-----BEGIN CERTIFICATE")
        return content[:cut], content[cut:]

    @property
    def server(self) -> ssl.SSLContext:
        """Asks for a certificate without insisting: a joiner has none yet. Who may do what
        without one is decided per request."""
        if self._server is None:
            self._server = self._context(ssl.Purpose.CLIENT_AUTH)
            self._server.verify_mode = ssl.CERT_OPTIONAL
            self._server.minimum_version = ssl.TLSVersion.TLSv1_3
        return self._server

    @property
    def client(self) -> ssl.SSLContext:
        if self._client is None:
            self._client = self._context(ssl.Purpose.SERVER_AUTH)
        return self._client

    def refresh(self) -> bool:
        """Use a renewed certificate from now on; whether there was one."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        for context in (self._server, self._client):
            if context is not None:
                context.load_cert_chain(self.node_file)
        self._stamp = stamp
        return True

    def _look(self) -> tuple[int, int]:
        state = os.stat(self.node_file)
        return state.st_ino, state.st_mtime_ns

    def _context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(purpose, cafile=str(self.authority_file))
            self._stamp = self._stamp or self._look()
            context.load_cert_chain(self.node_file)
        except (OSError, ssl.SSLError) as error:
            raise Rejected(
                f"--data-dir: the certificate in {self.folder} cannot be used: {error}; remove"
                " that folder and join again with a new token",
                field="--data-dir",
            ) from error
        return context


def peer_of(certificate: object) -> Peer | None:
    """Of what `getpeercert` says of a verified certificate; None without one."""
    if not isinstance(certificate, dict):
        return None
    fields = {
        key: value
        for relative in certificate.get("subject", ())
        for key, value in relative
        if isinstance(value, str)
    }
    if "commonName" not in fields:
        return None
    return Peer(
        cluster=fields.get("organizationName", ""),
        name=fields["commonName"],
        role=fields.get("organizationalUnitName", ""),
    )


def write_secret(path: Path, content: bytes) -> None:
    """All of it or nothing, durable, and readable by nobody else at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
