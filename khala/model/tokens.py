"""How a personal token, a session and a ticket are written, and what of them leaves the process.

`kh_pat_ID_SECRET` is a token, `kh_ses_ID_SECRET` a session that was opened with one, and
`kh_tkt_ID_SECRET` a ticket, which stands for one of these in a single request. The prefix lets
scanners of repositories find one that leaked, the id lets people name one without showing it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from enum import StrEnum

from msgspec import Struct

ID_DIGITS = 12
SECRET_DIGITS = 64
_SHOWN = re.compile(
    rf"kh_(?P<kind>pat|ses|tkt)_(?P<id>[0-9a-f]{{{ID_DIGITS}}})_(?P<secret>[0-9a-f]{{{SECRET_DIGITS}}})"
)


class TokenKind(StrEnum):
    PERSONAL = "pat"
    SESSION = "ses"
    TICKET = "tkt"


class Shown(Struct, frozen=True):
    """What a request showed, without its secret."""

    kind: TokenKind
    id: str
    #: Of the secret: `hash_secret`.
    hash: str


class Minted(Struct, frozen=True, kw_only=True):
    """A new one."""

    id: str
    hash: str
    #: The whole of it, for its holder alone.
    text: str


def hash_secret(secret: str) -> str:
    """What is stored of a secret. It has 256 random bits: nothing slower is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def seal(hashed: str, token: str) -> str:
    """Instead of the hash of a secret: it fits only beside `token`, and tells nothing of either,
    because nobody has the hash who has not seen the secret."""
    return hash_secret(f"{hashed} {token}")


def parse_shown(text: str | None) -> Shown | None:
    """None for anything that is not written like one."""
    found = _SHOWN.fullmatch(text) if text else None
    if found is None:
        return None
    return Shown(TokenKind(found["kind"]), found["id"], hash_secret(found["secret"]))


def mint(kind: TokenKind) -> Minted:
    token_id, secret = secrets.token_hex(ID_DIGITS // 2), secrets.token_hex(SECRET_DIGITS // 2)
    return Minted(id=token_id, hash=hash_secret(secret), text=f"kh_{kind}_{token_id}_{secret}")
