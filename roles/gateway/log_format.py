"""A log on the wire: as an event stream, as NDJSON, or as the bytes themselves.

A record's id is the place behind it, so it must not be ahead of what was sent: the first bytes of a
character whose rest is not there yet are held back, and are not counted as sent.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from msgspec.structs import replace

from khala.model.limits import LOG_RECORD_BYTES
from khala.model.live import Channel
from khala.protocol import v2
from roles.gateway.log_place import LogPlace
from roles.gateway.log_reader import Begun, Item, Missing, Over, Written


class Format(Protocol):
    """Turns items into bytes to send."""

    media_type: str

    def encode(self, items: Sequence[Item]) -> bytes:
        """Without items: a sign of life, or nothing where there can be none."""
        ...

    def deny(self, why: str) -> bytes:
        """The last of a stream whose reader may read no more; nothing where there can be none."""
        ...


class EventStream:
    media_type = "text/event-stream"

    def __init__(self, place: LogPlace) -> None:
        self._records = Records(place)

    def encode(self, items: Sequence[Item]) -> bytes:
        if not items:
            return b": alive\n\n"
        return b"".join(encode_event(record) for record in self._records.of(items))

    def deny(self, why: str) -> bytes:
        return encode_event(self._records.denied(why))


class Lines:
    media_type = "application/x-ndjson"

    def __init__(self, place: LogPlace) -> None:
        self._records = Records(place)

    def encode(self, items: Sequence[Item]) -> bytes:
        records: Sequence[v2.LogRecord] = list(self._records.of(items))
        if not items:
            records = [v2.LogAlive()]
        return b"".join(v2.encode(record) + b"\n" for record in records)

    def deny(self, why: str) -> bytes:
        return v2.encode(self._records.denied(why)) + b"\n"


class Bytes:
    """What was kept, one piece behind the other."""

    media_type = "text/plain; charset=utf-8"

    def encode(self, items: Sequence[Item]) -> bytes:
        return b"".join(item.data for item in items if isinstance(item, Written))

    def deny(self, _: str) -> bytes:
        return b""


class TimedLines:
    """The same with the time before each line."""

    media_type = "text/plain; charset=utf-8"

    def __init__(self) -> None:
        self._within: dict[Channel, bool] = {}

    def encode(self, items: Sequence[Item]) -> bytes:
        return b"".join(self._timed(item) for item in items if isinstance(item, Written))

    def deny(self, _: str) -> bytes:
        return b""

    def _timed(self, item: Written) -> bytes:
        stamp = _time_of(item.at)
        lines = item.data.split(b"\n")
        begins = not self._within.get(item.channel)
        self._within[item.channel] = lines[-1] != b""
        last = lines.pop()
        timed = b"".join(stamp + line + b"\n" for line in lines) + (stamp + last if last else b"")
        return timed if begins else timed[len(stamp) :]


def _time_of(at: datetime | None) -> bytes:
    return b"%s " % v2.encode(v2.stamp(at))[1:-1] if at is not None else b""


def encode_event(record: v2.LogRecord) -> bytes:
    name = record.__struct_config__.tag
    head = f"event: {name}\n"
    if not isinstance(record, v2.LogAlive):
        head = f"id: {record.id}\n{head}"
    return b"%sdata: %s\n\n" % (head.encode(), v2.encode(record))


class Records:
    """Items as records, with what one item leaves to the next."""

    def __init__(self, place: LogPlace) -> None:
        #: Up to where everything was sent.
        self._place = place
        #: Read and not sent: the beginning of a character.
        self._held: dict[Channel, Written] = {}

    def of(self, items: Sequence[Item]) -> Iterator[v2.LogRecord]:
        for item in items:
            match item:
                case Written():
                    yield from self._written(item)
                case Missing():
                    yield from self._release(item.channel)
                    self._enter(item)
                    yield self._missing(item)
                case Begun():
                    yield from self._release()
                    self._place = LogPlace(attempt=item.attempt, section=item.section)
                    yield v2.LogAttempt(id=str(self._place), attempt=item.attempt)
                case Over():
                    yield from self._release()
                    self._place = replace(self._place, attempt=item.attempt, ended=True)
                    yield v2.LogEnd(
                        id=str(self._place),
                        attempt=item.attempt,
                        state=item.state,
                        reason=item.reason,
                        exit_code=item.exit_code,
                    )

    def denied(self, why: str) -> v2.LogDenied:
        return v2.LogDenied(id=str(self._place), why=why)

    def _enter(self, item: Written | Missing) -> None:
        """Follow the reader into another section."""
        if (item.attempt, item.section) != (self._place.attempt, self._place.section):
            self._place = LogPlace(attempt=item.attempt, section=item.section)

    def _written(self, item: Written) -> Iterator[v2.LogRecord]:
        if item.section != self._place.section:
            yield from self._release()
        self._enter(item)
        held = self._held.pop(item.channel, None)
        if held is not None:
            item = replace(item, offset=held.offset, data=held.data + item.data)
        start = 0
        while start < len(item.data):
            piece = item.data[start : start + LOG_RECORD_BYTES]
            length, text = split_text(piece)
            part = replace(item, offset=item.offset + start, data=piece[:length])
            if not length:
                self._held[item.channel] = replace(part, data=piece)
                return
            yield self._chunk(part, text)
            start += length

    def _release(self, *channels: Channel) -> Iterator[v2.LogRecord]:
        """What was held back has no other half."""
        for channel in channels or Channel:
            held = self._held.pop(channel, None)
            if held is not None:
                yield self._chunk(held, None)

    def _chunk(self, item: Written, text: str | None) -> v2.LogChunk:
        self._place = self._place.moved(item.channel, item.offset + len(item.data))
        return v2.LogChunk(
            id=str(self._place),
            attempt=item.attempt,
            stage=item.section.stage.value,
            case=item.section.case,
            stream=item.channel,
            offset=item.offset,
            t=v2.stamp(item.at) if item.at is not None else None,
            text=text,
            b64=b64encode(item.data).decode() if text is None else None,
        )

    def _missing(self, item: Missing) -> v2.LogGap:
        self._place = self._place.moved(item.channel, item.end)
        return v2.LogGap(
            id=str(self._place),
            attempt=item.attempt,
            stage=item.section.stage.value,
            case=item.section.case,
            stream=item.channel,
            first=item.offset,
            end=item.end,
        )


def split_text(data: bytes) -> tuple[int, str | None]:
    """How many bytes may be sent now, and their text; None for bytes that are no text. The first
    bytes of a character at the end are left for later."""
    try:
        return len(data), data.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return error.start, data[: error.start].decode()
        return len(data), None
