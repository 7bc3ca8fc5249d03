"""The last events of this gateway, numbered, and those who read them.

Nothing is queued for a reader: it has a place in the log, and takes what follows when it has sent
what came before. So a slow reader costs the others nothing and memory is that of the log, however
many read. A reader that fell behind the log, comes from another gateway, or may have missed
something because a judicator could not be heard, is told `reset`: it reads what it shows anew,
which is simpler and surer than replaying from the store. Between two resets nothing is missing.

An event is encoded when the first reader takes it, once for each form, and not at all while nobody
does.
"""

from __future__ import annotations

import asyncio
import re
from enum import StrEnum

from msgspec import Struct

from khala.model.errors import Rejected, Unavailable
from khala.model.ids import mint_nonce
from khala.model.limits import EVENT_BATCH_BYTES, EVENT_STREAMS, EVENTS_KEPT
from khala.model.task import TaskBrief
from khala.protocol import v2
from roles.gateway.rows import row_of
from roles.gateway.topics import Happened, Topics

_PLACE = re.compile(r"(?P<log>[0-9a-f]{16})\.(?P<number>\d{1,15})\Z", re.ASCII)
_FELL_BEHIND = "More happened before it was taken than is kept."
_ELSEWHERE = (
    "This gateway has not seen what the stream before has sent; it may have been restarted."
)


class Form(StrEnum):
    """How a stream is written."""

    EVENTS = "text/event-stream"
    LINES = "application/x-ndjson"


class EventPlace(Struct, frozen=True):
    """The id of an event: `log` is of the gateway process that has it."""

    log: str
    number: int

    def __str__(self) -> str:
        return f"{self.log}.{self.number}"


def parse_place(text: str, field: str) -> EventPlace:
    found = _PLACE.match(text)
    if found is None:
        raise Rejected(
            f"{field}: the id of an event is needed, such as 5f0c2ad91e7b4c68.42;"
            f" {text[:60]!r} was given",
            field=field,
        )
    return EventPlace(found["log"], int(found["number"]))


class _Entry:
    """One event, and what it looks like in the forms that somebody reads."""

    __slots__ = ("_encoded", "happened", "place")

    def __init__(self, place: EventPlace, happened: Happened) -> None:
        self.place = place
        self.happened = happened
        self._encoded: dict[Form, bytes] = {}

    def encode(self, form: Form) -> bytes:
        data = self._encoded.get(form)
        if data is None:
            record = record_of(str(self.place), self.happened)
            data = self._encoded[form] = encode_record(record, form)
        return data


class EventLog:
    """Filled by the hub."""

    def __init__(self) -> None:
        self._name = mint_nonce()
        self._kept = EVENTS_KEPT
        #: The last of them, by number.
        self._entries: dict[int, _Entry] = {}
        self._last = 0
        self._readers: set[Reader] = set()
        self.stopping = False

    @property
    def last(self) -> int:
        """Number of the newest event."""
        return self._last

    @property
    def first(self) -> int:
        """Number of the oldest event that is kept."""
        return max(1, self._last - self._kept + 1)

    @property
    def readers(self) -> int:
        return len(self._readers)

    def wants(self, happened: Happened) -> bool:
        """Some reader would be sent it."""
        return any(reader.topics.include(happened) for reader in self._readers)

    def add(self, happened: Happened) -> None:
        self._last += 1
        self._entries[self._last] = _Entry(self.place(self._last), happened)
        self._entries.pop(self._last - self._kept, None)
        for reader in self._readers:
            reader.wake.set()

    def place(self, number: int) -> EventPlace:
        return EventPlace(self._name, number)

    def entry(self, number: int) -> _Entry:
        """Of one that is kept."""
        return self._entries[number]

    def open(self, topics: Topics, form: Form, after: EventPlace | None = None) -> Reader:
        """Of what comes after that place; of what happens from now on if there is none. Raise
        `Unavailable` when there are too many streams, or the gateway stops."""
        if self.stopping:
            raise Unavailable("the gateway is stopping")
        if len(self._readers) >= EVENT_STREAMS:
            raise Unavailable(f"{EVENT_STREAMS} event streams are open, which is the limit")
        reader = Reader(self, topics, form, after)
        self._readers.add(reader)
        return reader

    def close(self, reader: Reader) -> None:
        self._readers.discard(reader)

    def knows(self, place: EventPlace) -> bool:
        """Everything that came after it is here."""
        return place.log == self._name and self.first - 1 <= place.number <= self._last

    def stop(self) -> None:
        """End every stream for good; what was not sent is asked for elsewhere."""
        self.stopping = True
        for reader in self._readers:
            reader.wake.set()


class Reader:
    """One event stream: up to where it was sent."""

    def __init__(self, log: EventLog, topics: Topics, form: Form, after: EventPlace | None) -> None:
        self._log = log
        self._form = form
        self.topics = topics
        self.wake = asyncio.Event()
        #: Why it must be told to read anew, before anything else.
        self._reset = ""
        if after is not None and log.knows(after):
            self._at = after.number
            self.wake.set()
        else:
            self._at = log.last
            if after is not None:
                self._reset = _ELSEWHERE
                self.wake.set()

    @property
    def ended(self) -> bool:
        return self._log.stopping

    def hello(self, version: str) -> bytes:
        record = v2.EventHello(id=self._id, data=v2.Hello(version=version))
        return encode_record(record, self._form)

    def alive(self) -> bytes:
        """A sign of life that takes a reader along which nothing concerns."""
        if self._reset:
            return b""
        return encode_record(v2.EventAlive(id=self._id), self._form)

    def denied(self, why: str) -> bytes:
        """The last of a stream whose reader may read no more."""
        record = v2.EventDenied(id=self._id, data=v2.Denied(why=why))
        return encode_record(record, self._form)

    def take(self) -> bytes:
        """What follows, up to a bound; nothing if none of it is of its topics."""
        self.wake.clear()
        log = self._log
        pieces: list[bytes] = []
        if self._at < log.first - 1:
            self._at, self._reset = log.last, _FELL_BEHIND
        if self._reset:
            record = v2.EventReset(id=self._id, data=v2.Reset(why=self._reset))
            pieces.append(encode_record(record, self._form))
            self._reset = ""
        size = 0
        while self._at < log.last and size < EVENT_BATCH_BYTES:
            self._at += 1
            entry = log.entry(self._at)
            if self.topics.include(entry.happened):
                pieces.append(entry.encode(self._form))
                size += len(pieces[-1])
        if self._at < log.last:
            self.wake.set()
        return b"".join(pieces)

    @property
    def _id(self) -> str:
        return str(self._log.place(self._at))


def record_of(event_id: str, happened: Happened) -> v2.EventRecord:
    match happened:
        case TaskBrief():
            return v2.EventTask(id=event_id, data=row_of(happened))
        case v2.ExecutorChange():
            return v2.EventExecutor(id=event_id, data=happened)
        case v2.QueueChange():
            return v2.EventQueue(id=event_id, data=happened)
        case v2.Reset():
            return v2.EventReset(id=event_id, data=happened)


def encode_record(record: v2.EventRecord, form: Form) -> bytes:
    if form is Form.LINES:
        return v2.encode(record) + b"\n"
    if isinstance(record, v2.EventAlive):
        # Without data it is no event, and its id is kept all the same.
        return b"id: %s\n: alive\n\n" % record.id.encode()
    name = str(record.__struct_config__.tag)
    head = f"id: {record.id}\nevent: {name}\ndata: "
    return head.encode() + v2.encode(record.data) + b"\n\n"
