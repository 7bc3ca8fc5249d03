"""Every row of the fault table, under traffic, judged by the checker.

`build/test tests/cluster/faults -k F10` plays one row; `KHALA_FAULT_SEED=7` before it repeats the
one of seed 7.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from tests.cluster.faults.cluster import Cluster
from tests.cluster.faults.rows import Row
from tests.cluster.faults.rows_of_executors import TABLE as EXECUTORS
from tests.cluster.faults.rows_of_judicators import TABLE as JUDICATORS
from tests.cluster.faults.scenes import Played, Player
from tests.cluster.harness import ROOT

#: What was measured, a line for each row.
REPORT = ROOT / "dist" / "faults.jsonl"


@dataclass(frozen=True, slots=True)
class Script:
    """A scene: about as much of executors as of judicators."""

    executors: tuple[str, ...]
    judicators: tuple[str, ...]

    def rows(self) -> list[Row]:
        return [
            *(EXECUTORS.rows[name] for name in self.executors),
            *(JUDICATORS.rows[name] for name in self.judicators),
        ]


SCRIPTS = (
    Script(
        ("F1", "F1-gone", "F3", "at-assign.received", "at-journalled"),
        ("F19", "F4", "F4-again", "F5", "at-accept.before_commit", "at-accept.after_commit"),
    ),
    Script(
        ("F2", "F6-alone", "F15", "at-run.ended", "at-spooled"),
        ("F6", "F8", "F8-reset", "F9", "F10", "F10-still", "at-lease.committed"),
    ),
    Script(
        ("F6-unplugged", "F22", "F18", "at-recorded"),
        ("F11", "F12", "F13", "F14", "F16", "F25", "at-finish.committed", "at-turn.taken"),
    ),
    Script(
        ("F21", "F24", "F17"),
        ("F7", "F20", "F23", "F17-judicator", "F18-judicator", "at-election.won"),
    ),
)


CASES = [
    pytest.param(row, id=f"scene{number}-{row.name}")
    for number, script in enumerate(SCRIPTS, 1)
    for row in script.rows()
]


def test_every_row_is_in_one_scene() -> None:
    named = [row.name for script in SCRIPTS for row in script.rows()]
    assert sorted(named) == sorted({**EXECUTORS.rows, **JUDICATORS.rows})


class Scenes:
    """Each is played when the first of its rows is asked for, with those that were selected."""

    def __init__(self, player: Player, selected: set[str]) -> None:
        self._player = player
        self._selected = selected
        self._played: dict[str, Played] = {}
        self._broken: dict[Script, Exception] = {}

    def played(self, row: Row) -> Played:
        if row.name not in self._played:
            script = next(each for each in SCRIPTS if row in each.rows())
            if script in self._broken:
                why = "its scene was not played to its end"
                raise AssertionError(why) from self._broken[script]
            try:
                self._play(script)
            except Exception as error:
                self._broken[script] = error
                raise
        return self._played[row.name]

    def _play(self, script: Script) -> None:
        rows = [each for each in script.rows() if each.name in self._selected]
        lanes = [
            [each for each in rows if each.name in names]
            for names in (script.executors, script.judicators)
        ]
        for one in self._player.play(lanes):
            self._played[one.row.name] = one


@pytest.fixture(scope="module")
def scenes(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Scenes:
    REPORT.unlink(missing_ok=True)
    callspecs = (getattr(item, "callspec", None) for item in request.session.items)
    rows = (spec.params.get("row") for spec in callspecs if spec is not None)
    selected = {row.name for row in rows if isinstance(row, Row)}
    return Scenes(Player(cluster, seed, tmp_path_factory.mktemp("histories")), selected)


# The first row of a scene waits for all of it, the very first for the start of eight hosts.
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("row", CASES)
def test_a_fault(row: Row, scenes: Scenes, seed: int) -> None:
    played = scenes.played(row)
    why = "\n".join([*filter(None, [played.error]), *map(str, played.breaches)])
    measured = {
        "row": row.name,
        "what": row.what,
        "seed": seed,
        "submit_gap_s": round(played.gap_s, 2),
        "bound_s": row.submit_gap_s,
        "slowness": round(played.slowness, 1),
        "fault_s": round(played.acted - played.at, 1),
        "well_s": round(played.healed - played.acted, 1),
        "green": not why,
    }
    with REPORT.open("a") as file:
        file.write(json.dumps(measured) + "\n")
    assert not why, f"{row.name}: {row.what}, seed {seed}\n{why}"
