"""Back-off and giving up, with the time as an argument."""

from __future__ import annotations

import signal

from khala.supervise.restarts import (
    BACKOFF_MAX_S,
    BACKOFF_MIN_S,
    GIVE_UP_ENDS,
    GIVE_UP_WINDOW_S,
    HEALTHY_S,
    SHARE_OF_SERVICE,
    Restarts,
    end_of,
)

FAILED, KILLED = end_of(1), end_of(-signal.SIGKILL)


def test_restarts_slow_down_to_half_a_minute() -> None:
    restarts = Restarts(may_give_up=False)
    delays = [restarts.after(FAILED, now=float(second), served_s=0.0) for second in range(9)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def _backed_off() -> Restarts:
    restarts = Restarts(may_give_up=False)
    for second in range(8):
        restarts.after(FAILED, float(second), 0.0)
    return restarts


def test_service_forgives() -> None:
    assert _backed_off().after(FAILED, 100.0, HEALTHY_S) == BACKOFF_MIN_S


def test_whoever_served_does_not_wait_longer_than_a_share_of_it() -> None:
    restarts = _backed_off()
    just_less_s = HEALTHY_S - 1
    assert restarts.after(FAILED, 100.0, just_less_s) == just_less_s * SHARE_OF_SERVICE
    assert restarts.after(FAILED, 200.0, 4.0) == 4.0 * SHARE_OF_SERVICE


def test_a_child_that_is_killed_again_and_again_serves_most_of_the_time() -> None:
    for served_s in (2.0, 3.0, 5.0, 9.0, 20.0, 100.0):
        restarts = Restarts(may_give_up=False)
        waits = [restarts.after(KILLED, turn * 120.0, served_s) for turn in range(20)]
        assert max(wait or 0.0 for wait in waits) <= max(BACKOFF_MIN_S, served_s / 4)


def test_what_dies_as_soon_as_it_serves_backs_off_as_if_it_never_had() -> None:
    restarts = Restarts(may_give_up=False)
    just_less_s = BACKOFF_MIN_S / SHARE_OF_SERVICE - 0.1
    delays = [restarts.after(KILLED, float(second), just_less_s) for second in range(9)]
    assert delays[-1] == BACKOFF_MAX_S


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
    assert all(restarts.after(KILLED, float(second), 0.0) for second in range(20))


def test_an_end_is_told_in_words() -> None:
    assert end_of(3).text == "exited with 3"
    assert end_of(-signal.SIGSEGV).text == "killed by SIGSEGV"
    assert end_of(-60).text == "killed by signal 60"
