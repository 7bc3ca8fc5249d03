"""An executor whose every slot is under attack answers its heartbeats, and runs the next task."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from tests.cluster.harness import Khala
from tests.cluster.test_metrics import scrape, total

ATTACKS = {
    "fork bomb": ("bomb() { bomb | bomb & }; bomb; sleep 60", {"wall_time", "process_limit"}),
    "memory bomb": ("while :; do a+=$a$RANDOM; done & tail /dev/zero", {"memory"}),
    "output flood": ("yes & yes >&2", {"output_limit"}),
    "disk flood": ("cat /dev/zero > f; seq 1000000 | xargs touch", {"disk", "memory", "wall_time"}),
    "busy loops": (
        "for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done; wait",
        {"cpu_time", "wall_time"},
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_heartbeats_go_on_and_the_next_task_runs(shared: Khala, attack: str) -> None:
    command, reasons = ATTACKS[attack]
    returned = total(scrape(shared), "khala_attempts_returned_total", cause="lost")
    tasks = [shared.submit(execute_command=command, execute_timeout="3") for _ in range(4)]
    seen: set[datetime] = set()
    open_tasks = set(tasks)
    deadline = time.monotonic() + 60
    while open_tasks and time.monotonic() < deadline:
        status, nodes = shared.call("GET", "/api/v2/nodes")
        assert status == 200
        [executor] = nodes["executors"]
        assert executor["state"] == "online"
        seen.add(datetime.fromisoformat(executor["seen_at"]))
        open_tasks -= {task for task in open_tasks if shared.task(task)["done"]}
        time.sleep(0.1)
    assert not open_tasks
    for task in tasks:
        told = shared.explain(task)
        assert told["reason"] in reasons, told
        assert told["crashes"] == 0
    # Lost is what stays silent for ten seconds; this is about heartbeats, which come every two.
    gaps = [later - earlier for earlier, later in zip(sorted(seen), sorted(seen)[1:], strict=False)]
    assert all(gap.total_seconds() < 8 for gap in gaps), gaps
    assert total(scrape(shared), "khala_attempts_returned_total", cause="lost") == returned
    assert shared.wait_done(shared.submit(execute_command="echo fine"))["status"] == 5
