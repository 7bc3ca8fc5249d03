"""Cursors of lists: a place and a direction, opaque, and good for one list only.

With other filters than it was made for, a cursor would silently leave tasks out, so it carries a
digest of them. That is no secret: a cursor grants nothing, and any gateway reads any other's.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from msgspec import Struct

from khala.model.errors import Rejected
from khala.model.ids import parse_task_id
from khala.model.order import PRIORITY_MAX
from khala.protocol.rpc import Place

#: Longer than any of ours.
CURSOR_CHARS = 96
_DIGEST_BYTES = 9
_MS_PER_S = 1000
#: Parameters that may differ from page to page.
_FREE = ("cursor", "limit")


class Cursor(Struct, frozen=True, kw_only=True):
    place: Place
    #: Towards the beginning of the list.
    backward: bool = False


def write_cursor(cursor: Cursor, given: Mapping[str, str]) -> str:
    """`given` is the query that the page was asked for with."""
    place = cursor.place
    milliseconds = round(place.at.timestamp() * _MS_PER_S)
    direction = "b" if cursor.backward else "f"
    # Where it is 0 it is not said, as older gateways have it, which know no other.
    priority = f".{place.priority}" if place.priority else ""
    payload = f"{direction}{milliseconds:x}.{place.id}{priority}".encode()
    return urlsafe_b64encode(_digest(payload, given) + payload).decode().rstrip("=")


def read_cursor(text: str, given: Mapping[str, str]) -> Cursor:
    """Raise `Rejected` for anything but a cursor of the same query."""
    try:
        payload = _payload(text, given)
        at, _, rest = payload[1:].decode("ascii").partition(".")
        task, _, priority = rest.partition(".")
        moment = datetime.fromtimestamp(int(at, 16) / _MS_PER_S, UTC)
        place = Place(at=moment, id=parse_task_id(task), priority=_priority_in(priority or "0"))
    except (ValueError, OverflowError, OSError, Rejected):
        raise Rejected(
            f"cursor: {text[:80]!r} is none of this list with these filters; leave it out to begin",
            field="cursor",
        ) from None
    return Cursor(place=place, backward=payload[:1] == b"b")


def _priority_in(text: str) -> int:
    """Anybody can make a cursor, also of a number that no message holds."""
    priority = int(text)
    if abs(priority) > PRIORITY_MAX:
        raise ValueError(text)
    return priority


def _payload(text: str, given: Mapping[str, str]) -> bytes:
    """Nothing if it is not of these filters."""
    if len(text) > CURSOR_CHARS or not text.isascii():
        return b""
    decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    digest, payload = decoded[:_DIGEST_BYTES], decoded[_DIGEST_BYTES:]
    return payload if digest == _digest(payload, given) else b""


def _digest(payload: bytes, given: Mapping[str, str]) -> bytes:
    filters = urlencode(sorted((k, v) for k, v in given.items() if k not in _FREE))
    return hashlib.sha256(filters.encode() + b"\n" + payload).digest()[:_DIGEST_BYTES]
