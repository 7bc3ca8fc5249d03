"""What is left of a scene when its faults are over: until all has ended, and what is shown then."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.checker.history import Asked, Counted, Final, History, Quota
from tests.cluster.faults.cluster import BOUNDED_RUNNING, BOUNDED_USER, Cluster
from tests.cluster.faults.service import Service
from tests.cluster.faults.traffic import seen_of
from tests.cluster.faults.witness import uptime
from tests.cluster.harness import wait_until

#: States of tasks that have not ended.
OPEN = "queued,starting,compiling,running"


def wait_ended(cluster: Cluster, scene: int, timeout_s: float) -> None:
    """Everything that was accepted, or may have been; left to the checker if it does not."""
    path = f"/api/v2/tasks?limit=5&label=scene={scene}&state={OPEN}"
    left: list[str] = []

    def all_ended() -> bool:
        status, told = cluster.call(cluster.gateways[0], "GET", path)
        left[:] = [row["id"] for row in told["items"]] if status == 200 else [str(told)]
        return not left and cluster.is_at_rest()

    try:
        wait_until(all_ended, timeout_s, "all tasks end and all slots are free")
    except AssertionError as error:
        raise AssertionError(f"{error}: {left}") from None


def conclude(cluster: Cluster, history: History, scene: int) -> None:
    """Have every gateway show all there is of a scene."""
    mine: set[str] = set()
    history.add(Quota(user=str(BOUNDED_USER), running=BOUNDED_RUNNING))
    with ThreadPoolExecutor(4) as pool:
        for gateway in cluster.gateways:
            history.add(Asked(via=gateway.name, at=uptime()))
            shown = _list(cluster, gateway, scene)
            mine.update(shown)
            for final in pool.map(partial(_final, cluster, gateway), shown):
                history.add(final)
    for witness in cluster.witnesses.values():
        for event in witness.events():
            if event.task in mine:
                history.add(event)
    _count(cluster, history, scene)


def _count(cluster: Cluster, history: History, scene: int) -> None:
    """What Khala itself counts: of a scene's tasks, and of all that are open."""
    path = f"/api/v2/tasks?limit=1&label=scene={scene}"
    (listed, told), (known, status) = (
        cluster.call(cluster.gateways[0], "GET", each) for each in (path, "/api/v2/status")
    )
    assert listed == known == 200, (told, status)
    assert told["total_is_exact"], told
    history.add(Counted(counter="accepted", value=told["total"]))
    history.add(Counted(counter="open", value=status["queued"] + status["running"]))


def _list(cluster: Cluster, gateway: Service, scene: int) -> list[str]:
    """All tasks of a scene, page by page."""
    found: list[str] = []
    cursor = ""
    while True:
        path = f"/api/v2/tasks?limit=500&label=scene={scene}{cursor}"
        status, told = cluster.call(gateway, "GET", path)
        assert status == 200, (status, told)
        found += [row["id"] for row in told["items"]]
        if told["next_cursor"] is None:
            return found
        cursor = f"&cursor={told['next_cursor']}"


def _final(cluster: Cluster, gateway: Service, task: str) -> Final:
    status, told = cluster.call(gateway, "GET", f"/api/v2/tasks/{task}")
    assert status == 200, (status, told)
    return Final(via=gateway.name, task=task, seen=seen_of(told), at=uptime())
