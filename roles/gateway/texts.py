"""Texts of a task for JSON: inline ones at once, those stored apart by requests of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from msgspec import Struct

from khala.model.limits import VIEW_TEXT_BYTES
from khala.model.outcome import Stream, StreamRef
from khala.model.spec import Part, PartRef
from khala.model.task import Task
from khala.net.client import JudicatorClient


class TextRef(Struct, frozen=True, kw_only=True):
    """One text of a task: a payload part or an output."""

    name: Part | Stream
    size_bytes: int
    inline: bytes | None

    @classmethod
    def of(cls, name: Part | Stream, ref: PartRef | StreamRef | None) -> TextRef:
        """Without a `ref` the text is empty."""
        if ref is None:
            return cls(name=name, size_bytes=0, inline=b"")
        return cls(name=name, size_bytes=ref.size_bytes, inline=ref.inline)


def part_ref(task: Task, part: Part) -> TextRef:
    return TextRef.of(part, task.spec.parts.get(part))


def stream_ref(task: Task, stream: Stream) -> TextRef:
    return TextRef.of(stream, task.outcome.streams.get(stream) if task.outcome else None)


async def load_heads(
    client: JudicatorClient, task: Task, refs: list[TextRef], head_bytes: int
) -> Mapping[Part | Stream, bytes]:
    """The first `head_bytes` of each text."""
    heads: dict[Part | Stream, bytes] = {}
    stored: list[TextRef] = []
    for ref in refs:
        if ref.inline is None:
            stored.append(ref)
        else:
            heads[ref.name] = ref.inline[:head_bytes]
    if stored:
        loads = [_load_head(client, task, ref, head_bytes) for ref in stored]
        for ref, head in zip(stored, await asyncio.gather(*loads), strict=True):
            heads[ref.name] = head
    return heads


async def _load_head(client: JudicatorClient, task: Task, ref: TextRef, head_bytes: int) -> bytes:
    opened = (
        client.open_part(task.id, ref.name)
        if isinstance(ref.name, Part)
        else client.open_stream(task.id, ref.name)
    )
    head = bytearray()
    async with opened as pieces:
        async for piece in pieces:
            head += piece
            if len(head) >= head_bytes:
                break
    return bytes(head[:head_bytes])


#: Bytes in the middle of a character.
CONTINUATIONS = bytes(range(0x80, 0xC0))


def decode(head: bytes, *, at_a_cut: bool = False) -> str:
    """A character that the cut went through is left out, not shown as a broken one."""
    if at_a_cut or len(head) == VIEW_TEXT_BYTES:
        for length in range(1, min(4, len(head) + 1)):
            start = head[-length]
            if start >= 0xC0:
                whole = 2 if start < 0xE0 else 3 if start < 0xF0 else 4
                head = head[:-length] if length < whole else head
                break
            if start < 0x80:
                break
    return head.decode("utf-8", "replace")
