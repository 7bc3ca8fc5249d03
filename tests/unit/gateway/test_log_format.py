"""A log on the wire: wherever it is cut and a reader is interrupted, it has every byte once."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khala.model.errors import Rejected
from khala.model.ids import AttemptNo
from khala.model.limits import LOG_RECORD_BYTES
from khala.model.live import Channel, Section
from khala.model.outcome import Reason
from khala.model.spec import Stage
from khala.model.task import TaskState
from roles.gateway.log_format import Bytes, EventStream, Lines, TimedLines, split_text
from roles.gateway.log_place import LogPlace, parse_place
from roles.gateway.log_reader import Begun, Item, Missing, Over, Written

AT = datetime(2026, 11, 24, 0, 4, 9, 731000, tzinfo=UTC)
FIRST = AttemptNo(1)
COMPILE, EXECUTE = Section(Stage.COMPILE), Section(Stage.EXECUTE)
START = LogPlace(attempt=FIRST, section=EXECUTE)
OVER = Over(attempt=FIRST, state=TaskState.SUCCEEDED, reason=Reason.OK, exit_code=0)

#: Bytes, text, and bytes that begin as text does.
CONTENT = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.lists(st.sampled_from([b"a", b"\xc3", b"\xa4", b"\xe2\x82", b"\xac", b"\xff", b"\n"])).map(
        b"".join
    ),
)


def written(
    data: bytes, offset: int = 0, channel: Channel = Channel.STDOUT, section: Section = EXECUTE
) -> Written:
    return Written(attempt=FIRST, section=section, channel=channel, offset=offset, data=data, at=AT)


def records(*batches: list[Item], place: LogPlace = START) -> list[dict[str, Any]]:
    lines = Lines(place)
    sent = b"".join(lines.encode(items) for items in batches)
    return [json.loads(line) for line in sent.splitlines()]


def data_of(record: dict[str, Any]) -> bytes:
    if "b64" in record:
        return b64decode(record["b64"])
    text: str = record["text"]
    return text.encode()


def pieces_of(data: bytes, cuts: list[int], channel: Channel) -> list[Item]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    starts = [0, *ends]
    return [
        written(data[start:end], start, channel)
        for start, end in zip(starts, ends, strict=False)
        if end > start
    ]


@given(
    stdout=CONTENT,
    stderr=CONTENT,
    cuts=st.lists(st.integers(0, 40), max_size=8),
    stop=st.integers(0, 30),
)
def test_a_reader_that_was_interrupted_has_every_byte_once(
    stdout: bytes, stderr: bytes, cuts: list[int], stop: int
) -> None:
    """It takes some records, loses the connection, and goes on from the last id it saw."""
    whole = {Channel.STDOUT: stdout, Channel.STDERR: stderr}
    out = pieces_of(stdout, cuts, Channel.STDOUT)
    err = pieces_of(stderr, cuts, Channel.STDERR)
    mixed = [item for pair in zip(out, err, strict=False) for item in pair]
    mixed += out[len(err) :] + err[len(out) :]

    seen = records(*[[item] for item in mixed], [OVER])[:stop]
    place = parse_place(seen[-1]["id"], "after") if seen else START
    rest: list[Item] = []
    if not place.ended:
        rest = [
            written(data[place.offset(channel) :], place.offset(channel), channel)
            for channel, data in whole.items()
            if data[place.offset(channel) :]
        ]
        seen += records([*rest, OVER], place=place)

    assert seen[-1]["event"] == "end"
    for channel, data in whole.items():
        chunks = [each for each in seen[:-1] if each["stream"] == channel]
        assert b"".join(data_of(each) for each in chunks) == data
        at = 0
        for each in chunks:
            assert each["offset"] == at
            at += len(data_of(each))


def test_a_character_is_not_cut() -> None:
    euro = "€".encode()
    found = records([written(b"1 " + euro[:1])], [written(euro[1:2], 3)], [written(euro[2:], 4)])
    assert [each["text"] for each in found] == ["1 ", "€"]
    assert [each["id"] for each in found] == ["1.execute.2.0", "1.execute.5.0"]


def test_half_a_character_at_the_end_is_sent_as_bytes() -> None:
    half = "€".encode()[:2]
    for follows in (
        OVER,
        Missing(attempt=FIRST, section=EXECUTE, channel=Channel.STDOUT, offset=3, end=9),
    ):
        found = records([written(b"1" + half), follows])
        assert [data_of(each) for each in found[:2]] == [b"1", half]
        assert "b64" in found[1]


def test_records_are_bounded() -> None:
    data = "ä".encode() * LOG_RECORD_BYTES
    found = records([written(data)])
    assert b"".join(data_of(each) for each in found) == data
    assert all(len(data_of(each)) <= LOG_RECORD_BYTES for each in found)
    assert all("text" in each for each in found)


def test_an_event_stream() -> None:
    stream = EventStream(LogPlace(attempt=FIRST))
    gap = Missing(attempt=FIRST, section=EXECUTE, channel=Channel.STDOUT, offset=2, end=9)
    sent = stream.encode([written(b"hi"), gap, OVER]).decode()
    assert sent == (
        "id: 1.execute.2.0\n"
        "event: chunk\n"
        'data: {"event":"chunk","id":"1.execute.2.0","attempt":1,"stage":"execute",'
        '"stream":"stdout","offset":0,"t":"2026-11-24T00:04:09.731Z","text":"hi"}\n\n'
        "id: 1.execute.9.0\n"
        "event: gap\n"
        'data: {"event":"gap","id":"1.execute.9.0","attempt":1,"stage":"execute",'
        '"stream":"stdout","from":2,"to":9}\n\n'
        "id: 1.execute.9.0.end\n"
        "event: end\n"
        'data: {"event":"end","id":"1.execute.9.0.end","attempt":1,"state":"succeeded",'
        '"reason":"ok","exit_code":0}\n\n'
    )


def test_a_text_cannot_end_an_event() -> None:
    sent = EventStream(START).encode([written(b"a\n\ndata: forged\r\n\xe2\x80\xa8id: 9\n\n")])
    assert sent.count(b"\n") == 4
    assert sent.count(b"\r") == 0


def test_signs_of_life() -> None:
    assert EventStream(START).encode([]) == b": alive\n\n"
    assert Lines(START).encode([]) == b'{"event":"alive"}\n'
    assert Bytes().encode([]) == b""


def test_the_next_attempt_begins_at_its_first_byte() -> None:
    begun = Begun(attempt=AttemptNo(2), section=COMPILE)
    found = records([written(b"lost"), begun])
    assert found[-1] == {"event": "attempt", "id": "2.compile.0.0", "attempt": 2}


def test_the_bytes_alone() -> None:
    items: list[Item] = [
        written(b"com\xff", section=COMPILE),
        written(b"out"),
        written(b"err", channel=Channel.STDERR),
        OVER,
    ]
    assert Bytes().encode(items) == b"com\xffouterr"


def test_lines_with_their_time() -> None:
    timed = TimedLines()
    sent = timed.encode([written(b"one\ntw"), written(b"o\n\nlast", 6)])
    stamp = b"2026-11-24T00:04:09.731Z "
    assert sent == stamp + b"one\n" + stamp + b"two\n" + stamp + b"\n" + stamp + b"last"


@given(
    attempt=st.integers(0, 999_999_999),
    index=st.integers(0, 1000),
    stdout=st.integers(0, 10**15 - 1),
    stderr=st.integers(0, 10**15 - 1),
    ended=st.booleans(),
)
def test_a_place_is_read_as_it_was_written(
    attempt: int, index: int, stdout: int, stderr: int, ended: bool
) -> None:
    place = LogPlace(
        attempt=AttemptNo(attempt),
        section=Section.at(index),
        stdout=stdout,
        stderr=stderr,
        ended=ended,
    )
    assert parse_place(str(place), "after") == place
    assert place.section.index == index


@pytest.mark.parametrize(
    "text", ["", "7", "1.run.0.0", "1.execute.0", "-1.execute.0.0", "\u0661.execute.0.0"]
)
def test_a_place_that_is_none(text: str) -> None:
    with pytest.raises(Rejected, match="after: an id of this log is needed"):
        parse_place(text, "after")


@given(st.binary(max_size=12))
def test_what_may_be_sent_now(data: bytes) -> None:
    length, text = split_text(data)
    assert text is None or text.encode() == data[:length]
    assert length == len(data) or len(data) - length < 4
