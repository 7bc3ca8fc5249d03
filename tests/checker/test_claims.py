"""Each way to break a promise, made by hand, is found, and found by the claim that names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.checker.claims import CLAIMS, Bounds, judge, submit_gaps
from tests.checker.history import (
    Asked,
    Cancel,
    Counted,
    End,
    Event,
    Fault,
    Fence,
    Final,
    History,
    Quota,
    Read,
    Seen,
    Settled,
    Start,
    Submit,
)

BOUNDS = Bounds(stale_s=3, waste_s=20, settle_s=60)
DONE = Seen(state="succeeded", attempt=2, nonce="n1", reason="ok", output="n1 t1 2\n")
CANCELLED = Seen(state="cancelled", attempt=1, nonce="n2", reason="cancelled")


def submit(at: float, **fields: object) -> Submit:
    plain = Submit(
        client="a", at=at, until=at + 1, result="ok", nonce="n1", request="r1", key="k1", task="t1",
        user="u1",
    )  # fmt: skip
    return replace(plain, **fields)  # type: ignore[arg-type]  # whatever the field takes


def read(at: float, seen: Seen | None, **fields: object) -> Read:
    plain = Read(
        client="b", at=at, until=at + 0.1, result="ok", task="t1", via="gateway-1", seen=seen
    )
    return replace(plain, **fields)  # type: ignore[arg-type]  # whatever the field takes


def start(at: float, attempt: int, task: str = "t1", executor: str = "e1") -> Start:
    return Start(executor=executor, task=task, attempt=attempt, at=at)


def open_at(attempt: int) -> Seen:
    return Seen(state="running", attempt=attempt, nonce="n1")


#: The same request under the same key.
REPEATED = submit(50, nonce="n2", request="r2", key="k2", task="t2")
#: A first try that was never answered, an executor that was lost, a second attempt; a cancel.
GOOD: list[Event] = [
    submit(0, result="info", until=None, task=None),
    submit(5),
    submit(6, nonce="n3", request="r3", key="k3", result="fail", task=None),
    submit(7, request="other", result="fail", task=None, conflict=True),
    start(6, 1),
    Fault(name="executor killed", at=8, healed=40, submit_gap_s=15),
    read(9, open_at(1)),
    start(30, 2, executor="e2"),
    read(31, open_at(2)),
    End(executor="e2", task="t1", attempt=2, at=32),
    read(33, DONE),
    submit(10, nonce="n2", request="r2", key="k2", task="t2"),
    submit(20, nonce="n2", request="r2", key="k2", task="t2"),
    submit(30, nonce="n2", request="r2", key="k2", task="t2"),
    submit(41, nonce="n2", request="r2", key="k2", task="t2"),
    start(11, 1, task="t2"),
    Cancel(client="a", at=12, until=13, result="ok", task="t2"),
    Asked(via="gateway-1", at=90),
    Asked(via="gateway-2", at=90),
    Final(via="gateway-1", task="t1", seen=DONE, at=90),
    Final(via="gateway-2", task="t1", seen=DONE, at=90),
    Final(via="gateway-1", task="t2", seen=CANCELLED, at=90),
    Final(via="gateway-2", task="t2", seen=CANCELLED, at=90),
    Fence(kind="session", owner="e1", value=1, at=0),
    Fence(kind="session", owner="e1", value=2, at=30),
    Fence(kind="term", owner="j1", value=1, at=0),
    Fence(kind="term", owner="j2", value=2, at=20),
    Quota(user="u1", running=1),
    Settled(node="e1", at=90, ready=True, slots=2, free=2),
    Counted(counter="accepted", value=2),
    Counted(counter="ended", value=1, whole=False),
    Counted(counter="open", value=0),
]


def more(*events: Event) -> Callable[[list[Event]], list[Event]]:
    return lambda good: [*good, *events]


def without(kind: type[Event], **fields: object) -> Callable[[list[Event]], list[Event]]:
    def change(good: list[Event]) -> list[Event]:
        kept = [event for event in good if not _is(event, kind, fields)]
        assert len(kept) < len(good)
        return kept

    return change


def changed(
    kind: type[Event], where: dict[str, object], **fields: object
) -> Callable[[list[Event]], list[Event]]:
    def change(good: list[Event]) -> list[Event]:
        new = [_changed(event, fields) if _is(event, kind, where) else event for event in good]
        assert new != good
        return new

    return change


def _changed(event: Any, fields: dict[str, object]) -> Event:
    new: Event = replace(event, **fields)
    return new


def _is(event: Event, kind: type[Event], fields: dict[str, object]) -> bool:
    return isinstance(event, kind) and all(
        getattr(event, name) == value for name, value in fields.items()
    )


def final(**fields: object) -> Callable[[list[Event]], list[Event]]:
    """The end of the first task, everywhere, with something else in it."""
    seen = replace(DONE, **fields)  # type: ignore[arg-type]  # whatever the field takes
    ends = changed(Final, {"task": "t1"}, seen=seen)
    return lambda good: [event for event in ends(good) if not _is(event, Read, {"seen": DONE})]


BAD: dict[str, tuple[str, Callable[[list[Event]], list[Event]]]] = {
    "a lost task": ("C1", without(Final, task="t1")),
    "a gateway that shows nothing": ("C1", without(Final, via="gateway-2")),
    "nobody to ask": ("C1", lambda good: without(Asked)(without(Final)(good))),
    "lost by one gateway": ("C1", without(Final, task="t1", via="gateway-2")),
    "never ended": ("C1", final(state="queued", reason=None, output=None)),
    "another task than was asked for": ("C1", final(nonce="n9", output="n9 t1 2")),
    "accepted without an id": ("C1", more(submit(50, task=None))),
    "refused, and there": (
        "C1",
        more(*(Final(via=g, task="t3", seen=replace(CANCELLED, nonce="n3"), at=90)
               for g in ("gateway-1", "gateway-2"))),
    ),
    "one key, a second task that nobody was told of": (
        "C1",
        more(Final(via="gateway-1", task="t9", seen=replace(CANCELLED, nonce="n1"), at=90)),
    ),
    "a task of nobody": (
        "C1",
        more(Final(via="gateway-1", task="t9", seen=replace(CANCELLED, nonce="n9"), at=90)),
    ),
    "two verdicts": ("C2", more(read(50, replace(DONE, state="failed")))),
    "two outputs": ("C2", more(read(50, replace(DONE, output="n1 t1 1\n")))),
    "two verdicts at once": ("C2", more(read(33, replace(DONE, state="failed")))),
    "open again": ("C2", more(read(50, open_at(2)))),
    "gone again": ("C2", more(read(50, None))),
    "a stale result": ("C3", final(output="n1 t1 1\n")),
    "somebody else's output": ("C3", final(output="n2 t2 1\n")),
    "outputs of two runs": ("C3", final(output="n1 t1 1\nn1 t1 2\n")),
    "a result of no run": ("C3", without(Start, task="t1", attempt=2)),
    "a success of a run that was cut off": ("C3", without(End, task="t1")),
    "a double start": ("C4", more(start(31, 2, executor="e1"))),
    "a double start on one host": ("C4", more(start(31, 2, executor="e2"))),
    "an old attempt long after": ("C4", changed(Start, {"task": "t1", "attempt": 1}, at=51)),
    "a new attempt long after the end": ("C4", more(start(60, 3))),
    "a cancel undone": ("C5", changed(Final, {"task": "t2"}, seen=replace(DONE, nonce="n2"))),
    "a cancelled task goes on": ("C5", more(start(34, 2, task="t2"))),
    "one key, two tasks": ("C6", more(submit(50, task="t2"))),
    "one key, two requests": ("C6", more(submit(50, request="other"))),
    "a conflict with nobody": (
        "C6",
        more(submit(50, key="k9", result="fail", task=None, conflict=True)),
    ),
    "a conflict with oneself": (
        "C6",
        more(replace(REPEATED, result="fail", task=None, conflict=True)),
    ),
    "an end that took too long": ("C7", lambda good: [
        *(event for event in good if not _is(event, Read, {"seen": DONE})
          and not _is(event, Final, {"task": "t1"})),
        read(101, open_at(2)),
        *(Final(via=g, task="t1", seen=DONE, at=102) for g in ("gateway-1", "gateway-2")),
    ]),
    "a node that is not ready": ("C7", changed(Settled, {}, ready=False)),
    "a slot that is not free": ("C7", changed(Settled, {}, free=1)),
    "a process that was left": ("C7", changed(Settled, {}, left=("process 7",))),
    "a session that shrank": ("C8", changed(Fence, {"kind": "session", "at": 0}, value=3)),
    "two leaders of one term": ("C8", changed(Fence, {"kind": "term", "at": 20}, value=1)),
    "an attempt that shrank": ("C8", changed(Read, {"at": 31}, seen=open_at(0))),
    "no submission for too long": ("C9", changed(Fault, {}, submit_gap_s=4)),
    "no submission ever again": ("C9", lambda good: [
        event for event in good
        if not (isinstance(event, Submit) and event.at > 8 and event.result == "ok")
    ] + [submit(at, result="fail", task=None, key=None, nonce="n8") for at in range(9, 40)]),
    "more counted than there are": ("C10", changed(Counted, {"counter": "accepted"}, value=3)),
    "fewer counted than there are": ("C10", changed(Counted, {"counter": "accepted"}, value=1)),
    "open, it is said": ("C10", changed(Counted, {"counter": "open"}, value=1)),
    "two tasks at once of a user who may run one": ("C11", more(
        submit(10, nonce="n5", key="k5", task="t5"),
        start(31, 1, task="t5"),
        End(executor="e1", task="t5", attempt=1, at=33),
        Final(via="gateway-1", task="t5", seen=replace(DONE, attempt=1, nonce="n5"), at=90),
    )),
}  # fmt: skip


def test_a_good_history_breaks_nothing() -> None:
    assert judge(History(GOOD), BOUNDS) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_caught(name: str) -> None:
    claim, change = BAD[name]
    caught = {breach.claim for breach in judge(History(change(GOOD)), BOUNDS)}
    assert claim in caught


def test_every_claim_is_missed_by_some_history() -> None:
    assert {claim for claim, _ in BAD.values()} == set(CLAIMS)


@pytest.mark.parametrize(
    "event",
    [
        # Sent again after a time-out, and taken only the second time: nobody can know that.
        submit(50, result="info", until=None, task=None, key=None, nonce="n7"),
        # A judicator that was cut off shows what it had.
        read(35, open_at(2)),
        # Asked before the end was known, answered after it.
        read(30, open_at(2), until=60.0),
        # An executor that stood still begins what it was given, once, within its time.
        start(45, 3, executor="e3"),
        # Nobody was told that this cancel counts.
        Cancel(client="a", at=20, until=None, result="info", task="t1"),
    ],
)
def test_what_could_be_innocent_is(event: Event) -> None:
    assert judge(History([*GOOD, event]), BOUNDS) == []


def test_a_history_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    History(GOOD).save(path)
    assert History.load(path).events == GOOD


def test_a_gap_begins_when_somebody_asks() -> None:
    calls = [submit(at, nonce=str(at), key=None) for at in (0, 30)]
    quiet = History([*calls, Fault(name="quiet", at=5, healed=20)])
    assert submit_gaps(quiet) == {"quiet": 1.0}
    busy = History([*quiet.events, submit(6, result="fail", task=None, key=None)])
    assert submit_gaps(busy) == {"quiet": 25.0}
