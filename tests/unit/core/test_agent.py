"""What an executor says, starts and stops."""

from __future__ import annotations

import pytest

from khala.core.agent import DROPPED_ITEMS, RESEND_ITEMS, Link
from khala.model.ids import ExecutorName, SessionNo
from khala.model.limits import (
    HEARTBEAT_S,
    LINK_TIMEOUT_S,
    ORPHAN_TTL_S,
    PULSE_TTL_S,
    SPOOL_ITEMS,
)
from khala.model.task import Progress
from khala.model.wants import Wants
from khala.protocol.executor import (
    Abandon,
    Dead,
    Finished,
    Heartbeat,
    Hello,
    Kill,
    NameInUse,
    ProgressReport,
    Recorded,
    Refused,
    SessionLost,
)
from tests.unit.core.rig import DONE, Rig, run_no

S1 = SessionNo(1)
RUN = run_no(1)


# ---- the link -------------------------------------------------------------------------------


def test_a_hello_shows_everything(rig: Rig) -> None:
    rig.online()
    rig.assign(run_no(2))
    rig.assign(run_no(1))
    rig.agent.on_spooled(run_no(2), DONE)
    rig.take()
    rig.agent.on_disconnected()
    rig.agent.on_connected()
    hello = rig.take()[0]
    assert isinstance(hello, Hello)
    assert (hello.running, hello.spooled) == ([run_no(1)], [run_no(2)])
    assert [order for order, _ in rig.take_orders()] == ["start", "start"]


def test_heartbeats_come_at_their_pace(rig: Rig) -> None:
    rig.online()
    rig.advance(HEARTBEAT_S - 0.1)
    assert rig.take() == []
    rig.advance(0.2)
    assert [type(message) for message in rig.take()] == [Heartbeat]


@pytest.mark.parametrize(("session", "boot"), [(3, "b1"), (2, "b1"), (9, "b2")])
def test_an_old_or_foreign_welcome_is_ignored(rig: Rig, session: int, boot: str) -> None:
    rig.online(session=3)
    rig.agent.on_disconnected()
    rig.agent.on_connected()
    rig.take()
    rig.welcome(session, boot=boot)
    assert rig.agent.link is Link.GREETING
    assert rig.take() == []


def test_a_silent_judicator_is_left(rig: Rig) -> None:
    rig.online()
    rig.advance(LINK_TIMEOUT_S - 1)
    rig.acknowledge()
    rig.advance(LINK_TIMEOUT_S - 1)
    rig.take()
    assert rig.take_orders() == []
    rig.advance(2)
    assert [order for order, _ in rig.take_orders()] == ["disconnect"]


def test_a_greeting_that_is_not_answered_ends(rig: Rig) -> None:
    rig.agent.on_connected()
    rig.take()
    rig.advance(LINK_TIMEOUT_S + 1)
    assert [order for order, _ in rig.take_orders()] == ["disconnect"]


@pytest.mark.parametrize(("peers", "leaves"), [(1, False), (3, True)])
def test_a_judicator_that_cannot_write_is_left_for_another(
    rig: Rig, peers: int, leaves: bool
) -> None:
    rig.online()
    rig.acknowledge(serving=False, peers=peers)
    rig.time += PULSE_TTL_S + 0.1
    rig.acknowledge(serving=False, peers=peers)
    assert bool(rig.take_orders()) is leaves


def test_a_judicator_that_writes_again_is_kept(rig: Rig) -> None:
    rig.online()
    rig.acknowledge(serving=False, peers=3)
    rig.acknowledge(serving=True, peers=3)
    rig.time += PULSE_TTL_S + 0.1
    rig.acknowledge(serving=False, peers=3)


@pytest.mark.parametrize("message", [SessionLost(session=S1), NameInUse(name=ExecutorName("E"))])
def test_a_lost_session_and_a_taken_name_end_the_link(
    rig: Rig, message: SessionLost | NameInUse
) -> None:
    rig.online()
    rig.agent.on_message(message)
    assert [order for order, _ in rig.take_orders()] == ["disconnect"]


def test_echoes_of_another_session_are_ignored(rig: Rig) -> None:
    rig.online(session=1)
    rig.assign(RUN)
    rig.take_orders()
    rig.agent.on_disconnected()
    rig.online(session=2)
    rig.agent.on_message(Kill(session=S1, run=RUN))
    rig.agent.on_message(SessionLost(session=S1))
    rig.assign(run_no(2), session=1)
    assert rig.agent.running == {RUN}


def test_orphans_are_stopped(rig: Rig) -> None:
    rig.online()
    rig.assign(RUN)
    rig.agent.on_disconnected()
    rig.advance(ORPHAN_TTL_S - 1)
    assert rig.take_orders() == [("start", RUN)]
    rig.advance(2)
    assert rig.take_orders() == [("stop", RUN)]


# ---- assignments ----------------------------------------------------------------------------


def test_an_assignment_is_started_once(rig: Rig) -> None:
    rig.online()
    rig.assign(RUN)
    rig.assign(RUN)
    assert rig.take_orders() == [("start", RUN)]
    rig.agent.on_spooled(RUN, DONE)
    rig.assign(RUN)
    assert rig.take() == [Finished(session=S1, run=RUN, outcome=DONE)]


def test_an_attempt_that_was_started_before_is_dead(rig: Rig) -> None:
    rig.journal.add(RUN)
    rig.online()
    rig.assign(RUN)
    assert rig.take() == [Dead(session=S1, run=RUN)]


def test_what_was_recorded_does_not_come_back(rig: Rig) -> None:
    """The journal has forgotten it by then."""
    rig.online()
    rig.assign(RUN)
    rig.agent.on_spooled(RUN, DONE)
    rig.agent.on_message(Recorded(runs=[RUN]))
    rig.take()
    rig.assign(RUN)
    assert rig.take() == [Dead(session=S1, run=RUN)]
    assert rig.take_orders() == [("start", RUN), ("forget", RUN)]


def test_the_memory_of_what_was_dropped_is_bounded(rig: Rig) -> None:
    rig.online()
    for number in range(DROPPED_ITEMS + 1):
        rig.agent.on_message(Abandon(runs=[run_no(number)]))
    rig.assign(run_no(1))
    assert rig.take() == [Dead(session=S1, run=run_no(1))]
    rig.assign(run_no(0))
    assert rig.take_orders() == [("start", run_no(0))]


def test_a_full_executor_says_so(rig: Rig) -> None:
    rig.online()
    for number in range(5):
        rig.assign(run_no(number))
    # Two slots, and as many given ahead.
    assert [order for order, _ in rig.take_orders()] == ["start"] * 4
    assert [type(message) for message in rig.take()] == [Refused]


def test_an_executor_without_room_takes_nothing_and_says_so_at_once(rig: Rig) -> None:
    rig.online()
    rig.agent.accepts_work = False
    rig.assign(RUN)
    assert [type(message) for message in rig.take()] == [Refused]
    rig.advance(0.1)
    beat = rig.take()[0]
    assert isinstance(beat, Heartbeat)
    assert not beat.accepts
    rig.agent.accepts_work = True
    rig.advance(0.1)
    assert [m.accepts for m in rig.take() if isinstance(m, Heartbeat)] == [True]


def test_a_full_spool_takes_nothing() -> None:
    rig = Rig({run_no(number): DONE for number in range(SPOOL_ITEMS)})
    rig.agent.on_connected()
    rig.take()
    rig.welcome(1)
    assert [m.accepts for m in rig.take() if isinstance(m, Heartbeat)] == [False]


# ---- ends -----------------------------------------------------------------------------------


def test_a_result_is_repeated_until_it_is_recorded(rig: Rig) -> None:
    rig.online()
    rig.assign(RUN)
    rig.agent.on_spooled(RUN, DONE)
    rig.advance(HEARTBEAT_S)
    sent = Finished(session=S1, run=RUN, outcome=DONE)
    assert [m for m in rig.take() if isinstance(m, Finished)] == [sent, sent]
    rig.agent.on_message(Recorded(runs=[RUN]))
    rig.advance(HEARTBEAT_S)
    assert [m for m in rig.take() if isinstance(m, Finished)] == []
    assert rig.take_orders() == [("start", RUN), ("forget", RUN)]


def test_a_large_spool_takes_turns() -> None:
    rig = Rig({run_no(number): DONE for number in range(RESEND_ITEMS + 10)})
    rig.agent.on_connected()
    rig.welcome(1)
    first = [m.run for m in rig.take() if isinstance(m, Finished)]
    rig.advance(HEARTBEAT_S)
    second = [m.run for m in rig.take() if isinstance(m, Finished)]
    assert len(first) == len(second) == RESEND_ITEMS
    assert len({*first, *second}) == RESEND_ITEMS + 10


def test_a_result_waits_for_a_link(rig: Rig) -> None:
    rig.online()
    rig.assign(RUN)
    rig.agent.on_disconnected()
    rig.agent.on_progress(RUN, Progress.RUNNING)
    rig.agent.on_spooled(RUN, DONE)
    assert rig.take() == []
    rig.agent.on_connected()
    rig.take()
    rig.welcome(2)
    assert Finished(session=SessionNo(2), run=RUN, outcome=DONE) in rig.take()
    rig.take_orders()


@pytest.mark.parametrize("how", ["kill", "abandon", "welcome"])
def test_an_unwanted_run_is_stopped_and_its_result_dropped(rig: Rig, how: str) -> None:
    rig.online()
    rig.assign(RUN)
    if how == "kill":
        rig.agent.on_message(Kill(session=S1, run=RUN))
    elif how == "abandon":
        rig.agent.on_message(Abandon(runs=[RUN]))
    else:
        rig.agent.on_disconnected()
        rig.online(session=2, kill=[RUN])
    rig.agent.on_spooled(RUN, DONE)
    assert rig.take_orders() == [("start", RUN), ("stop", RUN), ("forget", RUN)]


def test_what_has_time_to_end_is_counted_until_it_is_gone(rig: Rig) -> None:
    rig.online()
    rig.assign(RUN, wants=Wants(amounts={"memory": 5}))
    rig.take()
    rig.agent.on_message(Kill(session=S1, run=RUN, grace_s=9.0))
    assert rig.take_orders() == [("start", RUN), ("ask", (RUN, 9.0))]
    [told] = rig.take()
    assert isinstance(told, Heartbeat)
    assert (told.running, told.ending, told.ending_amounts) == ([], 1, {"memory": 5})
    # A new session is told the same.
    rig.agent.on_disconnected()
    rig.online(session=2)
    rig.agent.on_spooled(RUN, DONE)
    rig.agent.on_gone(RUN)
    [told] = rig.take()
    assert isinstance(told, Heartbeat)
    assert (told.ending, told.ending_amounts) == (0, {})
    rig.agent.on_gone(RUN)
    assert rig.take() == []
    assert rig.take_orders() == [("forget", RUN)]


def test_no_task_gets_the_room_of_one_that_has_not_ended(rig: Rig) -> None:
    rig.online()
    rig.assign(RUN, wants=Wants(amounts={"memory": 5}))
    rig.agent.on_message(Kill(session=S1, run=RUN, grace_s=9.0))
    rig.take()
    rig.assign(run_no(2), wants=Wants(amounts={"memory": 5}))
    [refused] = rig.take()
    assert isinstance(refused, Refused)
    assert refused.why == "it has not enough memory left"
    rig.agent.on_gone(RUN)
    rig.assign(run_no(2), wants=Wants(amounts={"memory": 5}))
    assert rig.agent.running == {run_no(2)}
    rig.take_orders()
    rig.take()


def test_a_killed_result_leaves_the_spool(rig: Rig) -> None:
    rig.online()
    rig.assign(RUN)
    rig.agent.on_spooled(RUN, DONE)
    rig.take()
    rig.agent.on_message(Kill(session=S1, run=RUN))
    assert rig.take_orders() == [("start", RUN), ("forget", RUN)]


def test_an_attempt_that_was_lost_or_refused_is_said(rig: Rig) -> None:
    rig.online()
    rig.assign(run_no(1))
    rig.assign(run_no(2))
    rig.agent.on_lost(run_no(1))
    rig.agent.on_refused(run_no(2), "disk")
    rig.agent.on_lost(run_no(3))
    rig.agent.on_refused(run_no(3), "disk")
    assert rig.take() == [
        Dead(session=S1, run=run_no(1)),
        Refused(session=S1, run=run_no(2), why="disk"),
    ]
    assert rig.agent.running == set()
    rig.take_orders()


def test_progress_is_reported_while_it_runs(rig: Rig) -> None:
    rig.online()
    rig.assign(RUN)
    rig.agent.on_progress(RUN, Progress.COMPILING)
    assert rig.take() == [ProgressReport(session=S1, run=RUN, progress=Progress.COMPILING)]
    rig.agent.on_message(Kill(session=S1, run=RUN))
    rig.agent.on_progress(RUN, Progress.RUNNING)
    rig.take_orders()


def test_a_stop_finishes_what_runs_and_gives_the_rest_back(rig: Rig) -> None:
    rig.online()
    rig.assign(run_no(1))
    rig.assign(run_no(2))
    rig.agent.begin_stop()
    beat = rig.take()[0]
    assert isinstance(beat, Heartbeat)
    assert not beat.accepts
    rig.assign(run_no(3))
    assert [type(message) for message in rig.take()] == [Refused]
    rig.agent.on_spooled(run_no(1), DONE)
    rig.agent.give_up_runs()
    assert [type(message) for message in rig.take()] == [Finished, Refused]
    assert rig.take_orders()[-1] == ("stop", run_no(2))


def test_a_stop_without_a_link_is_said_with_the_welcome(rig: Rig) -> None:
    rig.agent.begin_stop()
    rig.agent.on_connected()
    rig.take()
    rig.welcome(1)
    assert [m.accepts for m in rig.take() if isinstance(m, Heartbeat)] == [False]
