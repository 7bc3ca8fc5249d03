"""The identity of a role in a data directory: joined earlier, or made here out of the authority.

Whoever can read a judicator's data directory holds the authority's key, so the other roles of its
host need no token: they sign for themselves.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from khala.model.dates import utc_now
from khala.model.errors import Rejected
from khala.pki.node import JUDICATOR, Certificate, NodeTls, write_secret

#: Short: it is made anew by whoever makes it, and renewed as all others are.
LOCAL_LIFE = timedelta(days=90)


def find_identity(data_dir: Path, role: str, name: str) -> NodeTls | None:
    """None if this role has none and cannot make one. Raise `Rejected` if it is another's."""
    identity = NodeTls(data_dir, role)
    judicator = NodeTls(data_dir, JUDICATOR)
    if identity.exists:
        known = identity.certificate
        if known.name == name and known.expires_at > utc_now():
            return identity
    try:
        signs = judicator.exists and judicator.authority_key_file.exists()
    except PermissionError:
        signs = False
    if signs:
        issue(
            judicator,
            identity,
            Certificate(
                cluster=judicator.certificate.cluster,
                name=name,
                role=role,
                hosts=identity.certificate.hosts if identity.exists else (),
                issued_at=utc_now(),
                expires_at=utc_now() + LOCAL_LIFE,
            ),
        )
        return identity
    if identity.exists and known.name != name:
        raise Rejected(
            f"--name: this data directory joined as {known.name}, not as {name}; start it as"
            f" {known.name}, or remove {identity.folder} and join with a new token",
            field="--name",
        )
    return None


def issue(judicator: NodeTls, identity: NodeTls, wanted: Certificate) -> None:
    """Make a key, and a certificate of the judicator's authority for it."""
    from khala.pki.authority import Authority, Subject, make_key, make_request

    authority = Authority.load(
        judicator.authority_file.read_bytes(), judicator.authority_key_file.read_bytes()
    )
    key = make_key()
    subject = Subject(
        cluster=wanted.cluster, name=wanted.name, role=wanted.role, hosts=wanted.hosts
    )
    signed = authority.sign(make_request(key), subject, wanted.expires_at - wanted.issued_at)
    write_secret(identity.authority_file, authority.certificate)
    identity.keep(
        key,
        signed.certificate,
        Certificate(
            cluster=wanted.cluster,
            name=wanted.name,
            role=wanted.role,
            hosts=wanted.hosts,
            issued_at=signed.issued_at,
            expires_at=signed.expires_at,
        ),
    )
