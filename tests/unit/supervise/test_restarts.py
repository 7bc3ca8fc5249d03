"""Back-off and giving up, with the time as an argument."""

from __future__ import annotations

import signal

from khala.supervise.restarts import (
    BACKOFF_MAX_S,
    BACKOFF_MIN_S,
    GIVE_UP_ENDS,
    GIVE_UP_WINDOW_S,
    HEALTHY_S,
    Restarts,
    end_of,
)

FAILED = end_of(1)


def test_restarts_slow_down_to_half_a_minute() -> None:
    restarts = Restarts(may_give_up=False)
    delays = [restarts.after(FAILED, now=float(second), served_s=0.0) for second in range(9)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_minute_of_service_forgives() -> None:
    restarts = Restarts(may_give_up=False)
    for second in range(8):
        restarts.after(FAILED, float(second), 0.0)
    assert restarts.after(FAILED, 100.0, HEALTHY_S - 1) == BACKOFF_MAX_S
    assert restarts.after(FAILED, 200.0, HEALTHY_S) == BACKOFF_MIN_S


def test_equal_ends_in_a_row_give_up() -> None:
    restarts = Restarts(may_give_up=True)
    for second in range(GIVE_UP_ENDS - 1):
        assert restarts.after(FAILED, float(second), 0.0) is not None
    assert restarts.after(FAILED, 10.0, 0.0) is None


def test_different_ends_do_not_give_up() -> None:
    restarts = Restarts(may_give_up=True)
    for second in range(2 * (GIVE_UP_ENDS - 1)):
        assert restarts.after(end_of(second % 2), float(second), 0.0) is not None


def test_ends_far_apart_do_not_give_up() -> None:
    restarts = Restarts(may_give_up=True)
    apart_s = GIVE_UP_WINDOW_S / (GIVE_UP_ENDS - 1)
    for turn in range(20):
        assert restarts.after(FAILED, turn * apart_s, 0.0) is not None


def test_kills_from_outside_do_not_give_up() -> None:
    restarts = Restarts(may_give_up=True)
    killed = end_of(-signal.SIGKILL)
    assert all(restarts.after(killed, float(second), 0.0) for second in range(20))


def test_an_end_is_told_in_words() -> None:
    assert end_of(3).text == "exited with 3"
    assert end_of(-signal.SIGSEGV).text == "killed by SIGSEGV"
    assert end_of(-60).text == "killed by signal 60"
