"""Every row of the fault table, under traffic, judged by the checker.

`build/test hosts -k F10` runs one row; `KHALA_FAULT_SEED=7` before it repeats the one of seed 7.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from khala.model.limits import ORPHAN_TTL_S, PULSE_TTL_S
from tests.checker.claims import Bounds, judge, submit_gaps
from tests.checker.history import Fault, Settled
from tests.cluster.harness import ROOT
from tests.hosts.cluster import Cluster
from tests.hosts.rows import ROWS, Row
from tests.hosts.traffic import Traffic
from tests.hosts.witness import uptime

BOUNDS = Bounds(stale_s=2 * PULSE_TTL_S, waste_s=ORPHAN_TTL_S, settle_s=120)
#: What was measured, a line for each row.
REPORT = ROOT / "dist" / "faults.jsonl"
#: Traffic before the fault and after it.
BEFORE_S, AFTER_S = 2.0, 3.0
_first = iter(range(1_000, 1_000_000, 10_000))


@pytest.fixture(scope="session", autouse=True)
def report() -> None:
    REPORT.unlink(missing_ok=True)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_fault(row: Row, cluster: Cluster, seed: int, tmp_path: Path) -> None:
    cluster.wait_ready()
    if row.kills:
        cluster.renew_judicator()
    chance = random.Random(f"{seed} {row.name}")
    slowness = cluster.slowness()
    began = time.monotonic()
    with Traffic(cluster, chance.randrange(1 << 32), next(_first)) as traffic:
        time.sleep(BEFORE_S)
        at = uptime()
        try:
            row.act(cluster, traffic, chance)
        finally:
            cluster.disarm()
        healed = uptime()
        slowness = max(slowness, cluster.slowness())
        bound_s = row.submit_gap_s and row.submit_gap_s * slowness
        traffic.history.add(Fault(name=row.name, at=at, healed=healed, submit_gap_s=bound_s))
        time.sleep(AFTER_S)
    traffic.wait_ended(BOUNDS.settle_s)
    traffic.conclude()
    for service in cluster.executors:
        traffic.history.add(_settled(service.name, service.data))
    traffic.history.save(tmp_path / "history.jsonl")
    measured = {
        "row": row.name,
        "what": row.what,
        "seed": seed,
        "submit_gap_s": round(submit_gaps(traffic.history)[row.name], 2),
        "bound_s": row.submit_gap_s,
        "slowness": round(slowness, 1),
        "fault_s": round(healed - at, 1),
        "took_s": round(time.monotonic() - began, 1),
        "events": len(traffic.history.events),
    }
    with REPORT.open("a") as file:
        file.write(json.dumps(measured) + "\n")
    breaches = judge(traffic.history, BOUNDS)
    assert not breaches, "\n".join([f"{asdict(row)}, seed {seed}", *map(str, breaches)])


def _settled(name: str, data: Path) -> Settled:
    """All slots are free, or the wait before this would not have ended."""
    spool = data / "executor" / "spool"
    left = tuple(f"spooled {path.name}" for path in sorted(spool.iterdir()))
    return Settled(node=name, at=uptime(), ready=True, slots=0, free=0, left=left)
