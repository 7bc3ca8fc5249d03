"""The log of events: its readers miss nothing that they are not told of, and cost what it costs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from khala.model.errors import Rejected, Unavailable
from khala.model.ids import AttemptNo, JobId, TaskId
from khala.model.limits import EVENT_BATCH_BYTES, EVENTS_KEPT
from khala.model.spec import Member
from khala.model.task import TaskBrief, TaskState
from khala.protocol import v2
from roles.gateway.event_log import EventLog, EventPlace, Form, Reader, parse_place
from roles.gateway.topics import NAMED_MAX, Happened, Topics, parse_topics
from tests.unit.gateway.double import START

TASK = TaskId("6b04d4787d852fb9eb7f7a4e")
BRIEF = TaskBrief(
    id=TASK,
    user=0,
    state=TaskState.QUEUED,
    attempt=AttemptNo(0),
    submitted_at=START,
    updated_at=START,
)
LOAD = v2.QueueChange(queued=1, running=2, slots=4, free=2)
EXECUTOR = v2.ExecutorChange(name="a", state="online", slots=4, free=2, seen_at=START)  # type: ignore[arg-type]


def records(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def read(reader: Reader) -> list[dict[str, Any]]:
    """All that waits for it."""
    found: list[dict[str, Any]] = []
    while reader.wake.is_set():
        found += records(reader.take())
    return found


def opened(log: EventLog, after: str | None = None, topics: Topics | None = None) -> Reader:
    place = parse_place(after, "after") if after else None
    return log.open(topics or Topics(), Form.LINES, place)


def test_every_event_has_an_id_and_whoever_gives_one_back_is_sent_what_follows() -> None:
    log = EventLog()
    reader = opened(log)
    for user in range(5):
        log.add(replace(BRIEF, user=user))
    sent = read(reader)
    assert [each["data"]["user"] for each in sent] == [0, 1, 2, 3, 4]
    for number, each in enumerate(sent):
        assert read(opened(log, each["id"])) == sent[number + 1 :]


def test_the_same_events_in_both_forms() -> None:
    log = EventLog()
    lines, events = opened(log), log.open(Topics(), Form.EVENTS)
    log.add(BRIEF)
    log.add(LOAD)
    task, load = read(lines)
    assert (task["event"], load["event"]) == ("task", "queue")
    blocks = events.take().decode().split("\n\n")
    assert blocks[1].splitlines() == [
        f"id: {load['id']}",
        "event: queue",
        f"data: {json.dumps(load['data'], separators=(',', ':'))}",
    ]
    assert blocks[0].startswith(f"id: {task['id']}\nevent: task\ndata: ")


def test_the_hello_is_a_place_to_come_back_to() -> None:
    log = EventLog()
    log.add(BRIEF)
    [hello] = records(opened(log).hello("1.2.3"))
    assert hello["data"] == {"version": "1.2.3"}
    log.add(LOAD)
    assert [each["event"] for each in read(opened(log, hello["id"]))] == ["queue"]


def test_a_reader_that_falls_behind_is_told_and_goes_on() -> None:
    log = EventLog()
    slow, quick = opened(log), opened(log)
    for _ in range(EVENTS_KEPT):
        log.add(BRIEF)
        quick.take()
    just = opened(log, str(log.place(0)))
    assert len(read(just)) == EVENTS_KEPT
    log.add(BRIEF)
    [reset] = read(slow)
    assert (reset["event"], reset["id"]) == ("reset", str(log.place(log.last)))
    log.add(LOAD)
    assert [each["event"] for each in read(slow)] == ["queue"]
    assert [each["event"] for each in read(quick)] == ["task", "queue"]


def test_whoever_comes_from_elsewhere_or_too_late_is_told() -> None:
    log = EventLog()
    for _ in range(EVENTS_KEPT + 2):
        log.add(BRIEF)
    of_another = str(EventPlace("0" * 16, 1))
    ahead = str(log.place(log.last + 1))
    too_late = str(log.place(1))
    for after in (of_another, ahead, too_late):
        [reset] = read(opened(log, after))
        assert reset["event"] == "reset"
        assert reset["id"] == str(log.place(log.last))


def test_what_may_have_been_missed_is_told_in_its_place_to_everyone() -> None:
    log = EventLog()
    nodes = opened(log, topics=parse_topics(["nodes"]))
    log.add(BRIEF)
    log.add(v2.Reset(why="a judicator could not be heard"))
    log.add(EXECUTOR)
    assert [each["event"] for each in read(nodes)] == ["reset", "executor"]


def test_a_reader_that_nothing_concerns_is_taken_along() -> None:
    log = EventLog()
    nodes = opened(log, topics=parse_topics(["nodes"]))
    log.add(BRIEF)
    assert read(nodes) == []
    [alive] = records(nodes.alive())
    assert alive == {"event": "alive", "id": str(log.place(1))}
    events = log.open(Topics(), Form.EVENTS)
    assert events.alive() == f"id: {log.place(1)}\n: alive\n\n".encode()


def test_one_write_has_a_bound() -> None:
    log = EventLog()
    reader = opened(log)
    for _ in range(EVENTS_KEPT):
        log.add(replace(BRIEF, name="n" * 128))
    first = reader.take()
    assert EVENT_BATCH_BYTES <= len(first) < EVENT_BATCH_BYTES + 1024
    assert len(records(first)) + len(read(reader)) == EVENTS_KEPT


def test_streams_have_a_bound_and_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roles.gateway.event_log.EVENT_STREAMS", 2)
    log = EventLog()
    first, second = opened(log), opened(log)
    with pytest.raises(Unavailable, match="limit"):
        opened(log)
    log.close(first)
    opened(log)
    log.stop()
    assert second.ended
    assert second.wake.is_set()
    with pytest.raises(Unavailable, match="stopping"):
        opened(log)


@pytest.mark.parametrize(
    ("words", "heard"),
    [
        ((), {"own", "member", "other", "queue", "nodes"}),
        (("tasks",), {"own", "member", "other"}),
        (("nodes",), {"nodes"}),
        (("queue", "nodes"), {"queue", "nodes"}),
        ((f"task:{TASK}",), {"own"}),
        (("job:" + "1" * 24,), {"member"}),
    ],
)
def test_topics(words: tuple[str, ...], heard: set[str]) -> None:
    member = Member(job=JobId("1" * 24), index=7)
    happened: dict[str, Happened] = {
        "own": BRIEF,
        "member": replace(BRIEF, id=TaskId("2" * 24), member=member),
        "other": replace(BRIEF, id=TaskId("3" * 24)),
        "queue": LOAD,
        "nodes": EXECUTOR,
    }
    topics = parse_topics(words)
    assert {name for name, each in happened.items() if topics.include(each)} == heard


def test_tasks_are_narrowed_by_user_and_labels() -> None:
    task = replace(BRIEF, user=7, labels={"hw": "3", "set": "a"})
    assert parse_topics([], user=7).include(task)
    assert not parse_topics([], user=8).include(task)
    assert parse_topics(["tasks"], labels=["hw=3", "set=a"]).include(task)
    assert not parse_topics(["tasks"], labels=["hw=3", "set=b"]).include(task)
    assert parse_topics(["tasks", f"task:{TASK}"], user=8).include(task)
    assert parse_topics([], user=8).include(LOAD)


@pytest.mark.parametrize("narrow", [{"user": 7}, {"labels": ["hw=3"]}])
def test_what_narrows_nothing_is_refused(narrow: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="narrows the topic tasks"):
        parse_topics(["nodes"], **narrow)


@pytest.mark.parametrize("word", ["logs", "task:7", "job:", "task", "*", ""])
def test_a_topic_that_there_is_not(word: str) -> None:
    with pytest.raises(Rejected, match="topics"):
        parse_topics(["tasks", word])


def test_many_tasks_are_asked_for_together() -> None:
    words = [f"task:{number:024x}" for number in range(NAMED_MAX)]
    assert len(parse_topics(words).named) == NAMED_MAX
    with pytest.raises(Rejected, match="101 were"):
        parse_topics([*words, "job:" + "f" * 24])


@pytest.mark.parametrize("text", ["", "7", "5f0c2ad91e7b4c68", "5f0c2ad91e7b4c68.x", "x.1"])
def test_an_id_that_is_none(text: str) -> None:
    with pytest.raises(Rejected, match="after: the id of an event"):
        parse_place(text, "after")
