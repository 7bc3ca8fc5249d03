"""How fast a line moves, and when the turn of a task in it is.

A line is made of the tasks of one shape: they want the same of an executor. Its pace is what was
taken from it while it waited. Starts of tasks that did not have to wait say how fast tasks come,
not how fast they go, so neither they nor the time without a line is counted. What is said of the
future is that it will be like the last minutes: nobody knows how long the tasks ahead will run, who
submits something more urgent meanwhile, and which executors come and go.

The spread has three parts: starts come in bursts (as uneven as they were lately), the pace itself
is known from so many starts only, and it drifts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

#: How fast lines move is remembered in stretches, of so many lines, back to where there are so many
#: starts; nothing is said of fewer than the least.
PACE_SLICE_S = 15.0
PACE_SLICES = 120
PACE_LINES = 128
PACE_ENOUGH = 200
PACE_STARTS_MIN = 5
#: The quantile of a normal distribution at nine tenths.
_NINE_TENTHS = 1.2816
#: Of the pace, from one look to the moment that was foretold.
_DRIFT = 0.2
#: Less even than this it is never believed to be.
_EVEN = 0.25
_UNEVEN = 25.0


class Slice(Struct, frozen=True, kw_only=True):
    """A stretch of time: starts while the line waited, and how long it did."""

    starts: int
    waited_s: float


class LinePace(Struct, frozen=True, kw_only=True):
    """Of one line, at one judicator or at all of them."""

    shape: str
    starts: int
    waited_s: float
    #: Variance of the starts of a stretch, over their mean: 1 if each comes by itself.
    unevenness: float = 1.0

    @property
    def per_s(self) -> float:
        return self.starts / self.waited_s if self.waited_s > 0 else 0.0


class Turn(Struct, frozen=True, kw_only=True):
    """In how many seconds it is, in half and in nine tenths of such cases."""

    p50_s: float
    p90_s: float


def pace_of(shape: str, slices: Sequence[Slice]) -> LinePace:
    starts = sum(each.starts for each in slices)
    waited_s = sum(each.waited_s for each in slices)
    pace = LinePace(shape=shape, starts=starts, waited_s=waited_s)
    if starts < PACE_STARTS_MIN or waited_s <= 0 or len(slices) < 2:
        return pace
    expected = [pace.per_s * each.waited_s for each in slices if each.waited_s > 0]
    seen = [each.starts for each in slices if each.waited_s > 0]
    squares = sum((n - mean) ** 2 / mean for n, mean in zip(seen, expected, strict=True))
    uneven = squares / max(1, len(seen) - 1)
    return LinePace(
        shape=shape,
        starts=starts,
        waited_s=waited_s,
        unevenness=min(max(uneven, _EVEN), _UNEVEN),
    )


def together(paces: Sequence[LinePace]) -> LinePace:
    """Of the same line at several judicators, each of which gives tasks to executors of its own."""
    starts = sum(each.starts for each in paces)
    per_s = sum(each.per_s for each in paces)
    weighted = sum(each.unevenness * each.starts for each in paces)
    return LinePace(
        shape=paces[0].shape,
        starts=starts,
        waited_s=starts / per_s if per_s > 0 else 0.0,
        unevenness=weighted / starts if starts else 1.0,
    )


def turn_of(ahead: int, pace: LinePace) -> Turn | None:
    """Of a task with so many before it in its line; None: too little was seen lately."""
    if pace.starts < PACE_STARTS_MIN or pace.per_s <= 0:
        return None
    steps = ahead + 1
    p50_s = steps / pace.per_s
    spread = math.sqrt(pace.unevenness * (1 / steps + 1 / pace.starts) + _DRIFT**2)
    return Turn(p50_s=p50_s, p90_s=p50_s * math.exp(_NINE_TENTHS * spread))
