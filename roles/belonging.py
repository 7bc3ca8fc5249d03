"""How a role of this host belongs to its cluster: by what its data directory has, or a token."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from khala.config.load import is_loopback
from khala.config.settings import Settings
from khala.model.errors import Rejected
from khala.net.credentials import Credentials
from khala.net.joining import FLAG, Joiner, join
from khala.net.secrets import SecretFile
from khala.pki.local import find_identity
from khala.pki.node import JUDICATOR, ROLES, NodeTls
from khala.protocol.members import Member


def credentials_of(settings: Settings, role: str) -> Credentials:
    """Those of a role that starts now; joins the cluster first if it has none and may."""
    data_dir = Path(settings.data_dir)
    find = partial(find_identity, data_dir, role, settings.name)
    if find() is None:
        if settings.join_token_file is not None:
            joiner = Joiner(
                addresses=settings.judicators,
                token_file=settings.join_token_file,
                role=role,
                name=settings.name,
            )
            join(joiner, NodeTls(data_dir, role))
        elif not all(is_loopback(_host(address)) for address in settings.join):
            raise Rejected(
                f"{FLAG}: joining the cluster at {', '.join(settings.join)} needs a token; make one"
                f" on a judicator's host: khala.pex token create --role {role}",
                field=FLAG,
            )
    return Credentials(_secret(settings), find)


def any_credentials(settings: Settings) -> Credentials:
    """Those of whichever role this data directory is of, a judicator first: for commands."""

    def find() -> NodeTls | None:
        found = (NodeTls(Path(settings.data_dir), role) for role in (JUDICATOR, *ROLES))
        return next((identity for identity in found if identity.exists), None)

    return Credentials(_secret(settings), find)


def judicators_of(settings: Settings, role: str) -> tuple[str, ...]:
    """Whom to ask first: those named, those that were there at the join, those of this host."""
    if settings.join:
        return settings.join
    data_dir = Path(settings.data_dir)
    known_members = read_members(data_dir)
    if known_members:
        return tuple(member.rpc for member in known_members)
    for known_to in (role, JUDICATOR):
        identity = NodeTls(data_dir, known_to)
        if identity.exists:
            known = identity.certificate
            if known.judicators:
                return known.judicators
            if known.hosts:
                return (f"{known.hosts[0]}:{settings.rpc.port}",)
    return settings.judicators


def _secret(settings: Settings) -> SecretFile:
    return SecretFile(Path(settings.secret_file), flag="--secret-file")


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


MEMBERS_FILE = "members.json"


def read_members(data_dir: Path) -> list[Member]:
    """The judicators that this host's judicator knew last; none at its first start."""
    try:
        return msgspec.json.decode((data_dir / MEMBERS_FILE).read_bytes(), type=list[Member])
    except (OSError, msgspec.MsgspecError):
        return []
