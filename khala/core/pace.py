"""What is remembered of how fast each line moved here, for those who ask when their turn is.

A hint for people: nothing is decided by it, nothing is stored, and a judicator that begins anew
says that it does not know yet. It costs a step for each line that waits at each tick, and a few
numbers for each line and minute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from khala.model.pace import (
    PACE_ENOUGH,
    PACE_LINES,
    PACE_SLICE_S,
    PACE_SLICES,
    LinePace,
    Slice,
    pace_of,
)

#: A longer pause between two ticks was no waiting that anybody saw.
_TICK_MAX_S = 5.0


@dataclass(slots=True)
class _Stretch:
    number: int
    starts: int = 0
    waited_s: float = 0.0


@dataclass(slots=True)
class _Line:
    stretches: deque[_Stretch] = field(default_factory=lambda: deque(maxlen=PACE_SLICES))

    def at(self, number: int) -> _Stretch:
        if not self.stretches or self.stretches[-1].number != number:
            self.stretches.append(_Stretch(number))
        return self.stretches[-1]

    def recent(self, number: int) -> list[Slice]:
        """From now back, until they are enough."""
        found: list[Slice] = []
        starts = 0
        for each in reversed(self.stretches):
            if each.number <= number - PACE_SLICES or starts >= PACE_ENOUGH:
                break
            found.append(Slice(starts=each.starts, waited_s=each.waited_s))
            starts += each.starts
        return found


class Pace:
    def __init__(self) -> None:
        #: That which has waited longest ago comes first.
        self._lines: dict[str, _Line] = {}
        self._waiting: frozenset[str] = frozenset()
        self._ticked_at = 0.0

    def on_tick(self, now: float, waiting: Iterable[str]) -> None:
        """`waiting`: the lines in which somebody is."""
        passed_s = now - self._ticked_at
        self._ticked_at = now
        still = frozenset(waiting)
        if passed_s <= _TICK_MAX_S:
            for shape in still & self._waiting:
                line = self._lines.pop(shape, None) or _Line()
                line.at(_number(now)).waited_s += passed_s
                self._lines[shape] = line
        self._waiting = still
        while len(self._lines) > PACE_LINES:
            del self._lines[next(iter(self._lines))]

    def started(self, shape: str, now: float) -> None:
        """One was taken from its line."""
        line = self._lines.get(shape)
        if line is not None and shape in self._waiting:
            line.at(_number(now)).starts += 1

    def lines(self, now: float) -> list[LinePace]:
        known = [pace_of(shape, line.recent(_number(now))) for shape, line in self._lines.items()]
        return [pace for pace in known if pace.starts]


def _number(now: float) -> int:
    return int(now // PACE_SLICE_S)
