"""The indexes over sessions agree with a walk over all of them, whatever happens."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings
from msgspec.structs import replace

from khala.core.ports import Conn
from khala.core.ready import Line, Ready, Refusals
from khala.core.session import Held, Session
from khala.core.sessions import Sessions
from khala.model.capabilities import CAPABILITY, shapes_of
from khala.model.ids import AttemptNo, BootId, ExecutorName, SessionNo, TaskId
from khala.model.limits import REFUSAL_PAUSE_S
from khala.model.order import AGEING_S
from khala.model.statements import Candidate
from tests.unit.core.desk import SPEC, Desk
from tests.unit.core.rig import run_no

IMAGES = ("a", "b")
NAMES = [ExecutorName(f"E{n}") for n in range(4)]
Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["attach", "detach", "close", "hold", "drop", "finish", "refuse", "take"]),
        st.integers(0, 3),
        st.integers(0, 5),
    ),
    max_size=60,
)


def session(name: ExecutorName, conn: int, slots: int) -> Session:
    return Session(
        name=name,
        number=SessionNo(1),
        boot=BootId("b"),
        slots=slots,
        last_seen_at=0.0,
        conn=Conn(conn),
        shapes=shapes_of(IMAGES[: conn % 3], conn % (CAPABILITY + 2)),
    )


def apply(sessions: Sessions, step: Step, conn: int) -> None:
    what, who, n = step
    current = sessions.get(NAMES[who])
    run = run_no(n)
    if what == "attach":
        sessions.attach(session(NAMES[who], conn, slots=n))
    if current is None:
        return
    if what == "detach":
        sessions.detach(current)
    elif what == "close" and current.conn is not None:
        sessions.close(current.conn, 1.0)
    elif what == "hold":
        sessions.hold(current, run, Held(task=None, seen_at=0.0, finished=n == 5))
    elif what == "drop":
        sessions.drop(current, run)
    elif what == "finish":
        sessions.finish(current, run, 1.0)
    elif what in ("refuse", "take"):
        sessions.set_accepts(current, what == "take")


@given(steps)
@settings(max_examples=300)
def test_free_slots_are_counted_right(history: list[Step]) -> None:
    sessions = Sessions()
    for conn, step in enumerate(history):
        apply(sessions, step, conn)
        everyone = list(sessions.values())
        for each in everyone:
            assert each.used == sum(not held.finished for held in each.held.values())
            if each.conn is not None:
                assert sessions.at(each.conn) is each
        assert sessions.free == sum(each.free for each in everyone)
        best = sessions.roomiest(SPEC)
        assert (best.free if best else 0) == max((each.free for each in everyone), default=0)
        if best is not None:
            second = sessions.roomiest(SPEC, but_not={best.name})
            rest = [each.free for each in everyone if each is not best]
            assert (second.free if second else 0) == max(rest, default=0)
        for shape in shapes_of(IMAGES, CAPABILITY):
            able = [each for each in everyone if shape in each.shapes]
            assert (shape in sessions.shapes) == (able != [])
            assert sessions.free_for(shape) == sum(each.free for each in able)
            image, _, needs = shape.partition("+")
            best = sessions.roomiest(replace(SPEC, image=image, needs=int(needs or 0)))
            assert best is None or shape in best.shapes
            assert (best.free if best else 0) == max((each.free for each in able), default=0)


def test_equal_executors_take_turns() -> None:
    sessions = Sessions()
    for conn, name in enumerate(NAMES):
        sessions.attach(session(name, conn, slots=2))
    order: list[ExecutorName] = []
    for n in range(8):
        best = sessions.roomiest(SPEC)
        assert best is not None
        sessions.hold(best, run_no(n), Held(task=None, seen_at=0.0))
        order.append(best.name)
    assert order == NAMES * 2


def candidate(desk: Desk, number: int, image: str = "", priority: int = 0) -> Candidate:
    return Candidate(
        id=TaskId(f"{number:024x}"),
        attempt=AttemptNo(0),
        crashes=0,
        spec=replace(SPEC, image=image, priority=priority),
        submitted_at=desk.wall_time(),
    )


def test_ready_keeps_the_order_and_its_bound(desk: Desk) -> None:
    ready = Ready(bound=3)
    tasks = [candidate(desk, number) for number in range(4)]
    for task in tasks:
        ready.add(task)
    ready.discard(tasks[1].id)
    assert tasks[0].id in ready
    assert drained(ready) == [tasks[0], tasks[2]]


def drained(ready: Ready) -> list[Candidate]:
    """What is in its only line, from the front."""
    order = []
    while ready:
        [head] = ready.heads()
        ready.discard(head.id)
        order.append(head)
    return order


def test_ready_follows_the_places(desk: Desk) -> None:
    """In whatever order they come; at the bound the last in line gives way, not the newest."""
    ready = Ready(bound=4)
    later = [candidate(desk, 1, priority=1), candidate(desk, 2), candidate(desk, 3, priority=-1)]
    desk.advance(AGEING_S + 1)
    urgent, plain = candidate(desk, 4, priority=1), candidate(desk, 5)
    for task in (later[2], plain, later[0], urgent, later[1]):
        ready.add(task)
    assert drained(ready) == [later[0], later[1], urgent, later[2]]


def test_ready_does_not_grow_by_what_has_left(desk: Desk) -> None:
    line = Line()
    first = candidate(desk, 0)
    line.add(first)
    for number in range(1, 5000):
        line.add(candidate(desk, number))
        line.discard(candidate(desk, number).id)
    assert line.head()[1] == first
    assert len(line) == 1 and len(line._order) < 200


def test_ready_keeps_images_apart(desk: Desk) -> None:
    ready = Ready(bound=3, shape_bound=2)
    for number in range(4):
        ready.add(candidate(desk, number, "a"))
    first, plain = candidate(desk, 0, "a"), candidate(desk, 4)
    ready.add(plain)
    assert ready.heads() == [first, plain]
    assert len(ready) == 3
    desk.advance(1)
    for number in (8, 7):
        ready.add(candidate(desk, number, "a"))
    assert ready.heads() == [first, plain]
    assert len(ready) == 3
    ready.keep(lambda spec: spec.image in ("", "b"))
    assert ready.heads() == [plain]
    assert ready.waits("") and not ready.waits("a")


def test_refusals_end() -> None:
    refusals = Refusals()
    task = TaskId("a" * 24)
    refusals.add(task, NAMES[0], now=0.0)
    refusals.add(task, NAMES[1], now=1.0)
    refusals.add(task, NAMES[0], now=2.0)
    refusals.expire(now=1.0 + REFUSAL_PAUSE_S)
    assert set(refusals.of(task)) == {NAMES[0]}
    refusals.expire(now=2.0 + REFUSAL_PAUSE_S)
    assert len(refusals) == 0
    assert not refusals.of(task)
