"""When the turn of a task is, said beforehand and compared with what came, in virtual time."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from khala.core.pace import Pace
from khala.model.pace import (
    PACE_LINES,
    PACE_STARTS_MIN,
    LinePace,
    Slice,
    Turn,
    pace_of,
    together,
    turn_of,
)
from tests.unit.core.desk import Desk, finished, run_of
from tests.unit.core.test_ahead import given

SHAPE = "gcc-13"
TICK_S = 0.25
Length = Callable[[random.Random], float]


@dataclass
class Load:
    """Slots with a line before them; tasks come in batches, and each line is asked for turns."""

    seed: int
    slots: int
    length: Length
    #: Seconds between two batches, and how many tasks one has.
    every_s: float
    batch: int
    judged: list[tuple[Turn, float]] = field(default_factory=list)
    #: Asked of tasks of which nothing could be said.
    silent: int = 0

    def run(self, hours: float) -> None:
        chance = random.Random(self.seed)
        pace, now = Pace(), 0.0
        line: deque[int] = deque()
        ends: list[float] = []
        asked: dict[int, list[tuple[float, Turn]]] = {}
        come, next_batch, next_look = 0, 0.0, 1.0
        while now < hours * 3600:
            now += TICK_S
            while ends and ends[0] <= now:
                heapq.heappop(ends)
            if now >= next_batch:
                count = max(1, round(chance.expovariate(1 / self.batch)))
                line.extend(range(come, come + count))
                come += count
                next_batch = now + chance.expovariate(1 / self.every_s)
            while line and len(ends) < self.slots:
                task = line.popleft()
                pace.started(SHAPE, now)
                heapq.heappush(ends, now + self.length(chance))
                self.judged += [(turn, now - at) for at, turn in asked.pop(task, ())]
            pace.on_tick(now, [SHAPE] if line else [])
            if now >= next_look and line:
                next_look = now + chance.expovariate(1 / 20.0)
                self._ask(pace, line, asked, now, chance)

    def _ask(
        self,
        pace: Pace,
        line: deque[int],
        asked: dict[int, list[tuple[float, Turn]]],
        now: float,
        chance: random.Random,
    ) -> None:
        ahead = chance.randrange(len(line))
        known = pace.lines(now)
        turn = turn_of(ahead, known[0]) if known else None
        if turn is None:
            self.silent += 1
        else:
            asked.setdefault(line[ahead], []).append((now, turn))


def even(mean_s: float) -> Length:
    return lambda chance: chance.uniform(0.7, 1.3) * mean_s


def skewed(mean_s: float) -> Length:
    """Most are short, a few take ten times as long."""
    return lambda chance: chance.lognormvariate(0.0, 1.2) * mean_s / 2.05


LOADS = {
    "few slots, even tasks": Load(1, 4, even(20), 300, 60),
    "few slots, skewed tasks": Load(2, 4, skewed(20), 300, 50),
    "many slots, short tasks": Load(3, 64, skewed(5), 120, 1200),
    "many slots, long tasks": Load(4, 32, skewed(300), 1800, 150),
    "a line that never ends": Load(5, 16, skewed(30), 60, 35),
    "bursts after silence": Load(6, 8, skewed(10), 2400, 800),
}


@pytest.mark.parametrize("name", LOADS)
def test_what_was_foretold_comes_true_as_often_as_it_says(name: str) -> None:
    load = LOADS[name]
    load.run(hours=10)
    assert len(load.judged) >= 200
    by_p50 = sum(took_s <= turn.p50_s for turn, took_s in load.judged) / len(load.judged)
    by_p90 = sum(took_s <= turn.p90_s for turn, took_s in load.judged) / len(load.judged)
    assert 0.3 <= by_p50 <= 0.7, (by_p50, by_p90)
    assert by_p90 >= 0.8, (by_p50, by_p90)
    # Nor is it true because it says little.
    wide = sorted(turn.p90_s / turn.p50_s for turn, _ in load.judged)
    assert wide[len(wide) // 2] < 3.0
    assert load.silent < len(load.judged) / 2


def test_nothing_is_said_of_a_line_that_does_not_move() -> None:
    pace = Pace()
    for n in range(1000):
        pace.on_tick(n / 4, [SHAPE])
    assert pace.lines(250.0) == []
    for _ in range(PACE_STARTS_MIN - 1):
        pace.started(SHAPE, 250.0)
    [known] = pace.lines(250.0)
    assert turn_of(0, known) is None
    pace.started(SHAPE, 250.0)
    assert turn_of(0, pace.lines(250.0)[0]) is not None


def test_what_did_not_have_to_wait_says_nothing() -> None:
    pace = Pace()
    for n in range(400):
        pace.on_tick(n / 4, [])
        pace.started(SHAPE, n / 4)
    assert pace.lines(100.0) == []


def test_time_without_a_line_and_pauses_do_not_count() -> None:
    pace = Pace()
    for n in range(41):  # ten seconds, a start in each
        pace.on_tick(n / 4, [SHAPE])
        if n % 4 == 3:
            pace.started(SHAPE, n / 4)
    pace.on_tick(10.25, [])
    pace.on_tick(500.0, [SHAPE])
    pace.on_tick(900.0, [SHAPE])
    [known] = pace.lines(900.0)
    assert known.starts == 10 and known.waited_s == pytest.approx(10.0)


def test_old_times_are_forgotten_and_so_are_lines() -> None:
    pace = Pace()
    for n in range(100):
        pace.on_tick(n / 4, [SHAPE])
        pace.started(SHAPE, n / 4)
    assert pace.lines(25.0)
    assert pace.lines(25.0 + 86_400) == []
    for n in range(PACE_LINES + 10):
        for at in (2 * n, 2 * n + 1):
            pace.on_tick(100.0 + at, [f"line-{n}"])
        pace.started(f"line-{n}", 100.0 + 2 * n + 1)
    assert len(pace.lines(100.0 + 2 * n)) == PACE_LINES


def test_judicators_are_added_up() -> None:
    one = LinePace(shape=SHAPE, starts=30, waited_s=60.0, unevenness=1.0)
    other = LinePace(shape=SHAPE, starts=10, waited_s=5.0, unevenness=5.0)
    both = together([one, other])
    assert both.per_s == pytest.approx(0.5 + 2.0)
    assert (both.starts, both.unevenness) == (40, 2.0)
    turn = turn_of(24, both)
    assert turn is not None and turn.p50_s == pytest.approx(10.0) and turn.p90_s > turn.p50_s
    assert together([LinePace(shape=SHAPE, starts=0, waited_s=9.0)]).per_s == 0


def test_uneven_starts_make_it_less_certain() -> None:
    calm = pace_of(SHAPE, [Slice(starts=10, waited_s=15.0)] * 10)
    bursts = pace_of(SHAPE, [Slice(starts=20 * (n % 2), waited_s=15.0) for n in range(10)])
    assert (calm.starts, calm.waited_s) == (bursts.starts, bursts.waited_s)
    one, other = turn_of(9, calm), turn_of(9, bursts)
    assert one is not None and other is not None
    assert one.p50_s == other.p50_s and one.p90_s < other.p90_s


def test_what_was_taken_from_the_queue_is_counted_and_nothing_else(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    tasks = [desk.submit() for _ in range(PACE_STARTS_MIN + 2)]
    for task in tasks:
        assert given(desk, conn) == [run_of(task)]
        desk.advance(2.0)
        desk.hear(conn, finished(run_of(task)))
    desk.take(conn)
    # The first one began at once, and nothing waited for the last one to begin.
    [pace] = desk.dispatcher.leasing.pace.lines(desk.now())
    assert pace.starts == PACE_STARTS_MIN + 1
    assert pace.per_s == pytest.approx(0.5, rel=0.2)
