"""A task that needs an image goes where the image is, waits where it is not, and hinders nobody."""

from __future__ import annotations

from khala.model.capabilities import CAPABILITY, shapes_of
from khala.model.ids import SessionNo, TaskId
from khala.model.limits import OWN_SCAN_ITEMS, REFUSAL_PAUSE_S
from khala.protocol.executor import Refused
from tests.unit.core.desk import Desk, finished, heartbeat, run_of
from tests.unit.core.rig import Rig, run_no
from tests.unit.core.test_ahead import given


def test_a_task_goes_to_an_executor_with_its_image(desk: Desk) -> None:
    roomy = desk.attach(1, name="A", slots=9)
    able = desk.attach(2, name="B", slots=2, images=["gcc-13"])
    task = desk.submit(image="gcc-13")
    assert desk.take_runs(able) == [run_of(task)]
    plain = desk.submit()
    assert desk.take_runs(roomy) == [run_of(plain)]


def test_what_waits_for_an_image_holds_up_nothing(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    waiting = [desk.submit(image="gcc-13") for _ in range(5)]
    first = desk.submit()
    # With a free slot at hand the submission is leased at once, as if nothing waited.
    assert desk.take_runs(conn) == [run_of(first)]
    second = desk.submit()
    desk.hear(conn, finished(run_of(first)))
    assert given(desk, conn) == [run_of(second)]
    assert desk.task(waiting[0]).attempt == 0


def test_a_long_queue_for_a_busy_image_does_not_hide_the_rest_from_a_new_judicator(
    desk: Desk,
) -> None:
    busy = desk.attach(1, name="A", slots=1, images=["gcc-13"])
    running = desk.submit(image="gcc-13")
    assert desk.take_runs(busy) == [run_of(running)]
    for _ in range(2 * OWN_SCAN_ITEMS):
        desk.submit_elsewhere(image="gcc-13")
    plain = desk.submit_elsewhere()
    idle = desk.attach(2, name="B", slots=1)
    desk.advance(1)
    assert desk.take_runs(idle) == [run_of(plain)]


def test_an_executor_that_brings_the_image_gets_what_waited_for_it(desk: Desk) -> None:
    desk.attach(1, name="A", slots=4)
    task = desk.submit(image="gcc-13")
    desk.advance(1)
    able = desk.attach(2, name="B", slots=1, images=["clang-17", "gcc-13"])
    desk.advance(1)
    assert desk.take_runs(able) == [run_of(task)]


def test_images_are_served_in_the_order_of_submission(desk: Desk) -> None:
    conn = desk.attach(1, slots=1, images=["a", "b"])
    tasks = [desk.submit(image=image) for image in ("a", "", "b", "a", "", "b")]
    order: list[TaskId] = []
    while len(order) < len(tasks):
        [run] = given(desk, conn)
        order.append(run[0])
        desk.beat_for(1, conn, heartbeat(running=[run]))
        desk.hear(conn, finished(run))
    assert order == tasks
    assert given(desk, conn) == []


def test_nothing_submitted_later_gets_the_only_executor_with_an_image_first(desk: Desk) -> None:
    """A task without one may have its last slot, and is what a task with the image waits for."""
    able = desk.attach(1, name="A", slots=1, images=["gcc-13"])
    plain = desk.submit()
    assert given(desk, able) == [run_of(plain)]
    other = desk.attach(2, name="B", slots=1)
    task = desk.submit(image="gcc-13")
    later = [desk.submit() for _ in range(5)]
    assert given(desk, other)[0] == run_of(later[0])
    desk.hear(able, finished(run_of(plain)))
    assert given(desk, able)[0] == run_of(task)


def test_an_image_goes_with_its_session(desk: Desk) -> None:
    before = desk.attach(1, name="A", slots=1, images=["gcc-13"])
    desk.hang_up(before)
    after = desk.attach(2, name="A", boot="b2", slots=1, images=["gcc-14"])
    desk.submit(image="gcc-13")
    desk.advance(1)
    assert desk.take_runs(after) == []
    assert set(desk.dispatcher.sessions.shapes) == set(shapes_of(["gcc-14"], CAPABILITY))


def test_a_refused_task_waits_for_another_executor_with_its_image(desk: Desk) -> None:
    first = desk.attach(1, name="A", slots=2, images=["gcc-13"])
    second = desk.attach(2, name="B", slots=1, images=["gcc-13"])
    task = desk.submit(image="gcc-13")
    assert desk.take_runs(first) == [run_of(task)]
    desk.hear(first, Refused(session=SessionNo(1), run=run_of(task), why="it has no image"))
    desk.advance(REFUSAL_PAUSE_S / 5)
    assert desk.take_runs(second) == [run_of(task, 2)]


def test_an_executor_refuses_what_needs_an_image_that_it_does_not_have(rig: Rig) -> None:
    rig.online()
    rig.assign(run_no(1), image="gcc-13")
    [refused] = rig.take()
    assert isinstance(refused, Refused)
    assert (refused.run, refused.why) == (run_no(1), "it has no image 'gcc-13'")
    rig.assign(run_no(2), image="clang-17")
    assert rig.take_orders() == [("start", run_no(2))]


def test_a_new_image_is_not_held_up_by_a_queue_that_needs_none(desk: Desk) -> None:
    """Only the store has what waited for it, and no slot is ever free when somebody looks."""
    waiting = desk.submit(image="gcc-13")
    desk.advance(1)
    desk.submit_elsewhere()
    for _ in range(8):
        desk.submit()
    conn = desk.attach(1, slots=1, images=["gcc-13"])
    order: list[TaskId] = []
    while waiting not in order and (runs := given(desk, conn)):
        order.append(runs[0][0])
        desk.beat_for(1, conn, heartbeat(running=runs))
        desk.hear(conn, finished(runs[0]))
    assert waiting in order[:3]
    desk.take(conn)
