"""Rows that are played together: starting and settling cost more than most faults do.

A scene is one run of traffic. Beside each other in it go faults of executors and faults of
judicators and gateways, each kind one after another; that is also harder on everything than a fault
alone. A row that fails with others can be played alone: `build/test tests/cluster/faults -k ROW`.
"""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from khala.model.limits import ORPHAN_TTL_S, PULSE_TTL_S
from tests.checker.claims import Bounds, Breach, judge, submit_gaps
from tests.checker.history import OK, Fault, Fence, History, Settled, Submit
from tests.cluster.faults import finals
from tests.cluster.faults.cluster import Cluster
from tests.cluster.faults.pace import Pace
from tests.cluster.faults.rows import Row, Scene, wait
from tests.cluster.faults.traffic import Traffic
from tests.cluster.faults.witness import uptime

#: From the last fault until everything has ended, on an idle machine.
SETTLE_S = 120.0
#: Traffic before the first fault and after the last one.
BEFORE_S, AFTER_S = 2.0, 3.0


@dataclass(slots=True)
class Played:
    """What became of one row."""

    row: Row
    at: float
    #: When what was broken was whole again, and when all of its kind served again.
    acted: float
    healed: float
    #: Stretches the bound.
    slowness: float
    #: Why it could not be played to its end.
    error: str = ""
    #: The longest time without an accepted submission.
    gap_s: float = 0.0
    breaches: tuple[Breach, ...] = ()


class Player:
    """Plays scenes on one cluster, with the faults of one seed."""

    def __init__(self, cluster: Cluster, seed: int, folder: Path) -> None:
        self._cluster = cluster
        self._seed = seed
        self._folder = folder
        self._scenes = 0
        #: Numbers of submissions that no earlier scene has had.
        self._first = 1_000

    def play(self, lanes: Iterable[Collection[Row]]) -> list[Played]:
        """Lanes beside each other, the rows of each one by one."""
        cluster = self._cluster
        cluster.wait_whole()
        self._scenes, self._first = self._scenes + 1, self._first + 10_000
        traffic_seed = random.Random(f"{self._seed} {self._scenes}").randrange(1 << 32)
        lanes = [lane for lane in lanes if lane]
        traffic = Traffic(cluster, traffic_seed, self._first)
        with Pace(cluster.gateways[0].host) as pace:
            with traffic:
                time.sleep(BEFORE_S)
                with ThreadPoolExecutor() as pool:
                    play = partial(self._one_by_one, traffic=traffic, pace=pace)
                    played = [one for lane in pool.map(play, lanes) for one in lane]
                time.sleep(AFTER_S)
            for one in played:
                bound = _bound(one, played, _answers(traffic))
                traffic.history.add(
                    Fault(name=one.row.name, at=one.at, healed=one.healed, submit_gap_s=bound)
                )
            self._settle(traffic, played)
        return played

    def _one_by_one(self, rows: Collection[Row], traffic: Traffic, pace: Pace) -> list[Played]:
        return [self._play(row, traffic, pace) for row in rows]

    def _play(self, row: Row, traffic: Traffic, pace: Pace) -> Played:
        cluster = self._cluster
        chance = random.Random(f"{self._seed} {row.name}")
        self._note(f"{row.name} begins")
        at = acted = healed = uptime()
        error = ""
        try:
            row.act(Scene(cluster, traffic, chance))
            acted = uptime()
            row.wait_well(cluster)
            healed = uptime()
            # What follows is then the next row's.
            wait(lambda: max(_answers(traffic), default=0) > healed, "a submission is accepted")
        except Exception:  # noqa: BLE001 - told by the row's own test
            error, healed = traceback.format_exc(), uptime()
        slowness = pace.slowness(at)
        took = f"{acted - at:.1f} s and {healed - acted:.1f} s until all is well"
        slow = f"a process took {slowness:.1f} times as long to start"
        self._note(f"{row.name} is over: {took}; {slow} {error}")
        return Played(row=row, at=at, acted=acted, healed=healed, slowness=slowness, error=error)

    def _note(self, what: str) -> None:
        """For whoever watches, or wonders what took so long."""
        with (self._folder / "played.log").open("a") as file:
            file.write(f"{uptime():.1f} {what}\n")

    def _settle(self, traffic: Traffic, played: list[Played]) -> None:
        history = traffic.history
        slowness = max(one.slowness for one in played)
        self._note("all rows are over")
        bounds = Bounds(stale_s=2 * PULSE_TTL_S, waste_s=ORPHAN_TTL_S, settle_s=SETTLE_S * slowness)
        try:
            finals.wait_ended(self._cluster, traffic.scene, bounds.settle_s)
        except AssertionError:
            for one in played:
                one.error += traceback.format_exc()
        self._note("everything has ended")
        finals.conclude(self._cluster, history, traffic.scene)
        for executor in self._cluster.executors:
            spool = executor.data / "executor" / "spool"
            left = tuple(f"spooled {path.name}" for path in sorted(spool.iterdir()))
            history.add(
                Settled(node=executor.name, at=uptime(), ready=True, slots=0, free=0, left=left)
            )
        for number, (leader, term) in enumerate(self._cluster.quorum.terms()):
            history.add(Fence(kind="term", owner=leader, value=term, at=number))
        history.save(self._folder / f"history-{self._scenes}.jsonl")
        self._note("all was shown")
        _judge(history, bounds, played)
        self._note("judged")


def _answers(traffic: Traffic) -> list[float]:
    """When submissions were accepted."""
    return sorted(call.over for call in traffic.history.of(Submit) if call.result == OK)


def _bound(one: Played, played: list[Played], answers: list[float]) -> float | None:
    """Of the time a row takes: whatever else goes on in it may need longer.

    So may what ended or began next to it, as far as no submission was accepted in between.
    """
    since = max((answer for answer in answers if answer <= one.at), default=one.at)
    until = min((answer for answer in answers if answer >= one.healed), default=one.healed)
    bounds = [
        other.row.submit_gap_s and other.row.submit_gap_s * max(one.slowness, other.slowness)
        for other in played
        if other.at <= until and since <= other.healed
    ]
    if None in bounds:
        return None
    return max(bound for bound in bounds if bound is not None)


def _judge(history: History, bounds: Bounds, played: list[Played]) -> None:
    gaps = submit_gaps(history)
    breaches = judge(history, bounds)
    for one in played:
        one.gap_s = gaps[one.row.name]
        one.breaches = tuple(breach for breach in breaches if _concerns(breach, one.row))


def _concerns(breach: Breach, row: Row) -> bool:
    """Of most breaches it cannot be said which of the faults has caused them."""
    faults = {event.name for event in breach.evidence if isinstance(event, Fault)}
    return not faults or row.name in faults
