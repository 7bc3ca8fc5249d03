"""Bodies of the Judicator's RPC, in and out; what all of its routes have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import msgspec
from sanic import Request
from sanic.response import HTTPResponse, raw

from khala.model.errors import Rejected, Unavailable
from khala.model.outcome import Cancellation
from khala.protocol.rpc import Cancel

Body = TypeVar("Body")
_encode = msgspec.msgpack.Encoder().encode
_decode_cancel = msgspec.msgpack.Decoder(Cancel).decode


def answer(body: msgspec.Struct) -> HTTPResponse:
    return raw(_encode(body), content_type="application/msgpack")


def done() -> HTTPResponse:
    """Where there is nothing to say."""
    return raw(b"", status=204)


def decode(decoder: Callable[[bytes], Body], body: bytes) -> Body:
    try:
        return decoder(body)
    except msgspec.MsgspecError as error:
        raise Rejected(f"body: not a request of this version ({error})") from error


def cancellation_in(body: bytes) -> Cancellation | None:
    """Of a DELETE; older gateways send none."""
    return decode(_decode_cancel, body).cancellation if body else None


async def send(request: Request, chunks: AsyncIterator[bytes], size_bytes: int) -> None:
    response = await request.respond(
        content_type="application/octet-stream", headers={"Content-Length": str(size_bytes)}
    )
    left = size_bytes
    async for chunk in chunks:
        left -= len(chunk)
        await response.send(chunk)
    if left:
        # Removed while it was read. The length was promised: only a broken connection says so.
        raise Unavailable("what was asked for has been removed while it was read")
    await response.eof()
