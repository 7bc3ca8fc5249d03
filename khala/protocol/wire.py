"""Frames: one WebSocket message is one msgpack list of tagged structs.

A frame is decoded as a whole or not at all: a peer that sends what this version cannot read is
disconnected, because guessing at half of a lease would be worse than a reconnect. Unknown fields
are ignored (a newer peer may add some); unknown tags are an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from khala.model.errors import Rejected
from khala.model.limits import FRAME_BYTES

#: Spoken by both ends; sent as the WebSocket subprotocol and checked before anything else.
SUBPROTOCOL = "khala.v1"

Message = TypeVar("Message")


def require_spoken(subprotocol: str | None, other: str) -> None:
    """What both ends have agreed on must be what this version speaks; raise `Rejected` if it is
    not. New fields and messages need no other version, so this says that one end is much older."""
    if subprotocol != SUBPROTOCOL:
        raise Rejected(
            f"{other} does not speak {SUBPROTOCOL}, the protocol of this version of Khala; upgrade"
            " whichever of the two is older, judicators first"
        )


class Codec(Generic[Message]):
    """Encodes any message, decodes one direction's union."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[list[Message]]) -> None:
        self._decoder = decoder
        self._encoder = msgspec.msgpack.Encoder()

    def decode(self, frame: bytes) -> list[Message]:
        """Raise `Rejected` for anything that is not a frame of this direction."""
        if len(frame) > FRAME_BYTES:
            raise Rejected(f"frame: {len(frame)} bytes, the limit is {FRAME_BYTES}")
        try:
            return self._decoder.decode(frame)
        except msgspec.MsgspecError as error:
            raise Rejected(f"frame: not readable ({error})") from error

    def encode(self, messages: Iterable[msgspec.Struct]) -> list[bytes]:
        """Frames that carry `messages` in order, each within the size limit."""
        frames: list[bytes] = []
        batch: list[msgspec.Struct] = []
        size = 0
        for message in messages:
            length = len(self._encoder.encode(message))
            if batch and size + length > FRAME_BYTES - 64:
                frames.append(self._encoder.encode(batch))
                batch, size = [], 0
            batch.append(message)
            size += length
        if batch:
            frames.append(self._encoder.encode(batch))
        return frames
