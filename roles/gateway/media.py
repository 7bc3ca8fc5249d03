"""What type a body is of, as its sender says: it is read only as what the address declares.

A sender that says nothing, or says something else, may have meant something else; and a page of
another origin can make a browser send forms and plain texts without asking anybody, but not JSON.
"""

from __future__ import annotations

from collections.abc import Collection
from email.message import Message

from sanic import Request

from khala.model.errors import Rejected

_SHOWN = 80


def type_of(request: Request) -> str:
    """As in `Content-Type`, without its parameters; empty if there is none."""
    given: str = request.headers.get("content-type", "")
    if not given:
        return ""
    header = Message()
    header["content-type"] = given
    return header.get_content_type()


def fault_of_type(request: Request, expected: Collection[str]) -> Rejected | None:
    """A body of none of the `expected` types; nothing is said of a request without a body."""
    if not _has_body(request) or type_of(request) in expected:
        return None
    given = request.headers.get("content-type")
    was = "none was given" if given is None else f"{given[:_SHOWN]!r} was given"
    return Rejected(
        f"Content-Type: {' or '.join(expected)} is expected, {was}", field="Content-Type"
    )


def _has_body(request: Request) -> bool:
    """Of a streamed one, all that is known yet is what it announces."""
    length: str = request.headers.get("content-length", "0")
    return bool(request.body) or length != "0" or "transfer-encoding" in request.headers
