"""When a child that ended is started again, and when it is said to have failed.

Pure: the time is passed in. A crash must cost a second and a crash loop next to nothing, so waits
double from one end to the next. Only what never came to serve earns long ones: whoever kills a
child that works must not keep it away for half a minute, however often they do it. A database that
ends the same way again and again has something to say (a damaged file, a full disk), and hammering
it would make that worse. It is tried once a minute all the same: somebody may have made room.
"""

from __future__ import annotations

import signal

from msgspec import Struct

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
#: In service for this long, a child is healthy again and its back-off starts over.
HEALTHY_S = 10.0
#: What has served less waits for this share of its service at most, if that is a wait at all: a
#: child that is killed again and again (from outside, or for its memory) serves most of the time.
SHARE_OF_SERVICE = 0.25
#: This many equal ends within the window, and a child that may give up has failed.
GIVE_UP_ENDS = 5
GIVE_UP_WINDOW_S = 300.0
#: Until a child that has failed is tried again; short enough to keep the window full.
FAILED_PAUSE_S = 60.0


class End(Struct, frozen=True, kw_only=True):
    """How one life of a child ended. `code` is negative for a signal, None if it never began."""

    code: int | None
    text: str


def end_of(code: int) -> End:
    """The end of a process, from its return code."""
    if code >= 0:
        return End(code=code, text=f"exited with {code}")
    try:
        return End(code=code, text=f"killed by {signal.Signals(-code).name}")
    except ValueError:
        return End(code=code, text=f"killed by signal {-code}")


class Restarts:
    """One child's history of ends. Instants are monotonic seconds."""

    def __init__(self, *, may_give_up: bool) -> None:
        self._may_give_up = may_give_up
        self._backoff_s = BACKOFF_MIN_S
        self._ends: list[tuple[float, End]] = []

    def after(self, end: End, now: float, served_s: float) -> float | None:
        """Seconds until the next start of a child that served that long; None: it has failed."""
        if served_s >= HEALTHY_S:
            self._backoff_s = BACKOFF_MIN_S
        elif (share_s := served_s * SHARE_OF_SERVICE) >= BACKOFF_MIN_S:
            self._backoff_s = min(self._backoff_s, share_s)
        self._ends = [past for past in self._ends if now - past[0] < GIVE_UP_WINDOW_S]
        self._ends.append((now, end))
        equal = sum(past == end for _, past in self._ends)
        # A kill from outside says nothing about the child.
        from_outside = end.code == -signal.SIGKILL
        if self._may_give_up and not from_outside and equal >= GIVE_UP_ENDS:
            return None
        delay_s = self._backoff_s
        self._backoff_s = min(BACKOFF_MAX_S, self._backoff_s * 2)
        return delay_s
