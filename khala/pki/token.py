"""Join tokens: what an operator carries from a judicator to a new node.

`KH1<hash>::<role>.<id>:<secret>`. The hash is the SHA-256 of the authority's certificate, so the
joiner knows the cluster before it says anything: whoever answers under the cluster's address must
show that certificate first. The role and the id are no secrets; of the secret, the cluster keeps
a hash alone.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import ssl

from msgspec import Struct

from khala.model.errors import Rejected

PREFIX = "KH1"
_FORM = re.compile(
    r"KH1(?P<hash>[0-9a-f]{64})::(?P<role>[a-z]+)\.(?P<id>[0-9a-f]{12}):(?P<secret>[0-9a-f]{64})\Z"
)


class Token(Struct, frozen=True, kw_only=True):
    authority_hash: str
    role: str
    id: str
    secret: str

    def show(self) -> str:
        return f"{PREFIX}{self.authority_hash}::{self.role}.{self.id}:{self.secret}"


def make_token(role: str, authority: bytes) -> Token:
    return Token(
        authority_hash=hash_of(authority),
        role=role,
        id=secrets.token_hex(6),
        secret=secrets.token_hex(32),
    )


def parse_token(text: str, *, source: str) -> Token:
    """Raise `Rejected`, naming `source` and not the token, for anything else."""
    match = _FORM.match(text.strip())
    if match is None:
        raise Rejected(
            f"{source}: not a join token; one looks like {PREFIX}HASH::ROLE.ID:SECRET and is made"
            " on a judicator's host: khala.pex token create --role ROLE",
            field=source,
        )
    return Token(
        authority_hash=match["hash"],
        role=match["role"],
        id=match["id"],
        secret=match["secret"],
    )


def hash_of(authority: bytes) -> str:
    """Of a certificate in PEM; raise `ValueError` if it is none."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority.decode("ascii"))).hexdigest()
