"""Three judicators, executors and gateways: they join one by one, and any one host may be lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from khala.net.ports import free_ports
from khala.version import VERSION
from tests.cluster.harness import Khala, ask, wait_until
from tests.cluster.newer import NEXT, make_newer
from tests.cluster.nodes import Cluster, Node, gateway_of, growing, stranger, wait_ready

#: Nine databases and as many interpreters start here, on whatever the machine has.
pytestmark = pytest.mark.timeout(500)
CONFIG = "/api/v2/cluster/config"
ADDRESSES = {"a": "127.0.0.31", "b": "127.0.0.32", "c": "127.0.0.33"}


def members(cluster: Cluster, *, on: str | None = None) -> dict[str, Any]:
    result = cluster.run("cluster", "members", "--json", on=on)
    if result.returncode:
        return {"members": [], "notes": [result.stderr]}
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def settled(cluster: Cluster, count: int, *, on: str | None = None) -> bool:
    found = members(cluster, on=on)["members"]
    return len(found) == count and all(
        each["member"].get("standing") == "member"
        and each["etcd"] == "voter"
        and each["mongodb"].partition(",")[0] in {"primary", "secondary"}
        and "no vote" not in each["mongodb"]
        for each in found
    )


def readiness(cluster: Cluster) -> str:
    """What the first judicator says to whoever probes it."""
    url = f"https://{ADDRESSES['a']}:{cluster.ports.rpc}/readyz"
    with urllib.request.urlopen(url, timeout=10, context=stranger()) as answer:
        return str(answer.read().decode())


def ready_text(client: Khala) -> str:
    with contextlib.suppress(OSError):
        return str(client.call("GET", "/readyz")[1])
    return ""


def add_judicator(cluster: Cluster, name: str, address: str) -> Node:
    token = cluster.token_file("judicator")
    joining = ("--join", cluster.judicators, "--join-token-file", str(token))
    node = cluster.judicator(name, address, *joining)
    wait_until(lambda: settled(cluster, len(cluster.addresses)), 60, f"{name} is a member")
    return node


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with growing(tmp_path_factory.mktemp("members")) as cluster:
        cluster.judicator("a", ADDRESSES["a"])
        add_judicator(cluster, "b", ADDRESSES["b"])
        two = members(cluster)
        (note,) = two["notes"]
        assert note == "Two judicators survive no failure; add a third."
        wait_until(lambda: f"warning: {note}" in readiness(cluster), 60, "each judicator warns")
        add_judicator(cluster, "c", ADDRESSES["c"])
        for name in ("e1", "e2"):
            cluster.join(name, "executor", "--slots", "2")
        yield cluster


@pytest.fixture(scope="module")
def gateways(cluster: Cluster) -> list[Khala]:
    clients = []
    for name in ("g1", "g2"):
        (port,) = free_ports(1)
        node = cluster.join(name, "gateway", "--http-port", str(port))
        clients.append(gateway_of(node, port))
        wait_ready(clients[-1], node)
    return clients


def test_each_one_is_a_full_member(cluster: Cluster) -> None:
    for name in ADDRESSES:
        assert settled(cluster, 3, on=name), members(cluster, on=name)
    assert members(cluster)["notes"] == []


class Load(threading.Thread):
    """Submits until it is told to stop, as a client that tries again does."""

    def __init__(self, gateways: list[Khala]) -> None:
        super().__init__()
        self._gateways = gateways
        self._stopping = threading.Event()
        self.tasks: list[str] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stopping.wait(0.3):
                client = self._gateways[len(self.tasks) % len(self._gateways)]
                self.tasks.append(client.submit(execute_command="sleep 1; echo done"))
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            self.failure = error

    def wait_for_more(self, count: int) -> None:
        aim = len(self.tasks) + count
        wait_until(lambda: len(self.tasks) >= aim or self.failure, 60, "more tasks are accepted")

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        if self.failure is not None:
            raise self.failure


def test_any_judicator_may_be_killed_in_the_middle_of_tasks(
    cluster: Cluster, gateways: list[Khala]
) -> None:
    load = Load(gateways)
    load.start()
    try:
        for name in ADDRESSES:
            load.wait_for_more(3)
            cluster.nodes[name].kill9()
            load.wait_for_more(3)
            cluster.nodes[name].start()
            cluster.wait_serving(name)
            wait_until(lambda: settled(cluster, 3), 90, f"{name} is back")
    finally:
        load.stop()
    for task in load.tasks:
        found = gateways[0].wait_done(task, 90)
        assert found["status"] == 5, found
        assert found["result"]["execute_output"] == "done\n"


def test_a_quota_that_is_set_holds_at_every_judicator(
    cluster: Cluster, gateways: list[Khala]
) -> None:
    one, other = gateways

    def everywhere(revision: int) -> bool:
        config = other.call("GET", CONFIG)[1]
        asked = config.get("judicators", ())  # none of a gateway that just lost its own
        known = {each["name"]: each["in_force"]["revision"] for each in asked}
        return known == dict.fromkeys(ADDRESSES, revision)

    def states() -> list[str]:
        return sorted(one.explain(task)["state"] for task in tasks)

    status, answer = one.send("PATCH", CONFIG, {"quotas": {"users": {"4711": {"running": 1}}}})
    assert (status, answer["quotas"]["revision"]) == (200, 1)
    wait_until(lambda: everywhere(1), 30, "the quota is in force at each")
    tasks = [
        gateways[number % 2].submit(user="4711", execute_command="sleep 600") for number in range(4)
    ]
    wait_until(lambda: "running" in states(), 60, "one of them runs")
    assert states() == ["queued"] * 3 + ["running"]
    cluster.nodes["b"].kill9()
    cluster.nodes["b"].start()
    cluster.wait_serving("b")
    wait_until(lambda: everywhere(1), 60, "b goes by it again")
    # Whoever ran it may have had its session from b.
    wait_until(lambda: states() == ["queued"] * 3 + ["running"], 60, "one of them still runs")
    assert other.send("PATCH", CONFIG, {"quotas": None})[0] == 200
    wait_until(lambda: states() == ["running"] * 4, 60, "what it held begins")
    for task in tasks:
        one.send("POST", f"/api/v2/tasks/{task}/cancel", {})
        one.wait_done(task, 90)
    wait_until(lambda: settled(cluster, 3), 90, "b is a member as before")


def test_an_upload_goes_on_at_another_gateway_when_a_judicator_is_killed(
    cluster: Cluster, gateways: list[Khala]
) -> None:
    """What was acknowledged is on a majority, less than a chunk of it included."""
    data = os.urandom(9_000_000)
    name = hashlib.sha256(data).hexdigest()
    status, upload = gateways[0].send(
        "POST", "/api/v2/uploads", {"size": len(data), "sha256": name}
    )
    assert status == 201, upload
    path = f"/api/v2/uploads/{upload['id']}"
    assert send_bytes(gateways[0], path, 0, data[:5_000_000]) == (204, "")
    cluster.nodes["b"].kill9()
    try:
        found = wait_until(lambda: told_offset(gateways[1], path), 60, "the offset is known")
        assert found == 5_000_000

        def sent() -> Any:
            with contextlib.suppress(OSError):
                status, answer = send_bytes(gateways[1], path, 5_000_000, data[5_000_000:])
                assert status in {201, 409, 503, 504}, answer
                return answer if status == 201 else None

        made = wait_until(sent, 60, "the rest of it is taken")
        assert made == {"blob": f"sha256:{name}", "size": len(data)}
    finally:
        cluster.nodes["b"].start()
        cluster.wait_serving("b")
    request = urllib.request.Request(f"{gateways[0].url}/api/v2/blobs/{name}")
    with urllib.request.urlopen(request, timeout=60) as response:
        assert hashlib.sha256(response.read()).hexdigest() == name
    wait_until(lambda: settled(cluster, 3), 90, "b is back")


def send_bytes(gateway: Khala, path: str, offset: int, data: bytes) -> tuple[int, Any]:
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
    request = urllib.request.Request(gateway.url + path, data=data, headers=headers, method="PATCH")
    return ask(request)


def told_offset(gateway: Khala, path: str) -> int | None:
    with contextlib.suppress(OSError):
        status, answer = gateway.call("GET", path)
        return int(answer["offset"]) if status == 200 else None
    return None


def test_who_joined_by_one_judicator_finds_the_others_without_it(
    cluster: Cluster, gateways: list[Khala]
) -> None:
    """Also after a restart, and for outputs too large for the executors' own connection."""
    nodes = [cluster.nodes[name] for name in ("e1", "e2", "g1")]
    cluster.nodes["a"].kill9()
    try:
        for node in nodes:
            node.kill9()
            node.start()
        task = gateways[0].submit(execute_command="head -c 300000 /dev/zero | tr '\\0' x")
        found = gateways[0].wait_done(task, 120)
        assert found["status"] == 5, found
        assert found["result"]["execute_output"] == "x" * 300_000
    finally:
        cluster.nodes["a"].start()
        cluster.wait_serving("a")
    wait_until(lambda: settled(cluster, 3), 90, "a is back")


def versions(client: Khala) -> dict[str, str]:
    """Of executors and judicators, by name."""
    with contextlib.suppress(OSError):
        status, nodes = client.call("GET", "/api/v2/nodes")
        if status == 200:
            all_of_them = [*nodes["executors"], *nodes["judicators"]]
            return {node["name"]: node["version"] for node in all_of_them}
    return {}


def wait_until_newer(client: Khala, name: str) -> None:
    wait_until(lambda: versions(client).get(name) == NEXT, 90, f"{name} is upgraded")


def test_every_node_is_upgraded_one_by_one_and_no_task_is_lost(
    cluster: Cluster, gateways: list[Khala], tmp_path: Path
) -> None:
    newer = make_newer(tmp_path)
    assert set(versions(gateways[0]).values()) == {VERSION}
    load = Load(gateways)
    load.start()
    try:
        for name in [*ADDRESSES, "g1", "g2", "e1", "e2"]:
            load.wait_for_more(3)
            node = cluster.nodes[name]
            node.stop()
            node.file = newer
            node.start()
            if name in ADDRESSES:
                cluster.wait_serving(name)
                wait_until(lambda: settled(cluster, 3), 90, f"{name} is back")
            elif node.role == "gateway":
                wait_ready(gateways[int(name[1:]) - 1], node)
            if node.role != "gateway":
                wait_until_newer(gateways[0], name)
        load.wait_for_more(3)
    finally:
        load.stop()
    assert set(versions(gateways[0]).values()) == {NEXT}
    for task in load.tasks:
        found = gateways[0].wait_done(task, 90)
        assert (found["status"], found["result"]["execute_output"]) == (5, "done\n"), found
        # What an executor gives back when it stops has another attempt; nothing was lost with one.
        assert gateways[0].explain(task)["crashes"] == 0


def leader(gateway: Khala) -> str | None:
    with contextlib.suppress(OSError):
        status, nodes = gateway.call("GET", "/api/v2/nodes")
        if status == 200:
            return next((each["name"] for each in nodes["judicators"] if each["leader"]), None)
    return None


def test_the_judicator_that_is_named_leads_while_tasks_go_on(
    cluster: Cluster, gateways: list[Khala]
) -> None:
    """By a gateway, and on a judicator's host."""
    path = "/api/v2/cluster/transfer-leadership"

    def transferred(to: str | None) -> Any:
        # What is slow here is told as a reason to repeat it; nothing has happened then.
        def moved() -> Any:
            status, answer = gateways[0].send("POST", path, {"to": to})
            assert status in {200, 409, 503}, answer
            return answer if status == 200 else None

        return wait_until(moved, 120, f"{to} leads")

    load = Load(gateways)
    load.start()
    try:
        assert transferred("b")["leader"] == "b"
        load.wait_for_more(2)
        moved = transferred("c")
        assert moved["leader"] == "c"
        assert transferred("c") == {"leader": "c", "before": "c"}
        load.wait_for_more(2)
        wait_until(lambda: leader(gateways[1]) == "c", 60, "a gateway sees it")
    finally:
        load.stop()
    status, problem = gateways[0].send("POST", path, {"to": "e1"})
    assert (status, problem["code"]) == (404, "not_found")
    assert "there are: a, b, c" in problem["detail"]

    def by_hand() -> bool:
        return cluster.run("cluster", "transfer-leader", "a").returncode == 0

    wait_until(by_hand, 120, "the command has done it")
    assert cluster.run("cluster", "transfer-leader", "a").stdout == "a leads already.\n"
    for task in load.tasks:
        found = gateways[0].wait_done(task, 90)
        assert (found["status"], found["result"]["execute_output"]) == (5, "done\n"), found


def test_the_last_healthy_majority_is_not_given_away(
    cluster: Cluster, gateways: list[Khala]
) -> None:
    cluster.nodes["c"].kill9()
    try:
        wait_until(
            lambda: "warning: 1 of 3 judicators cannot be seen (c)" in ready_text(gateways[0]),
            60,
            "a gateway warns",
        )
        wait_until(
            lambda: any(
                each["mongodb"].startswith("not reachable")
                for each in members(cluster, on="a")["members"]
            ),
            60,
            "c is missed",
        )
        refused = cluster.run("cluster", "remove", "b", on="a")
        assert refused.returncode == 2
        assert "1 of 2 judicators are healthy, which is no majority" in refused.stderr
    finally:
        cluster.nodes["c"].start()
        cluster.wait_serving("c")
    wait_until(lambda: settled(cluster, 3), 90, "c is back")


def test_a_stop_is_no_leave_and_a_leave_is_for_good(
    cluster: Cluster, gateways: list[Khala]
) -> None:
    node = cluster.nodes["b"]
    node.stop()
    assert len(members(cluster, on="a")["members"]) == 3
    node.start()
    cluster.wait_serving("b")
    wait_until(lambda: settled(cluster, 3), 90, "b is back")
    left = cluster.run("leave", on="b")
    assert left.returncode == 0, left.stderr
    assert [each["member"]["name"] for each in members(cluster, on="a")["members"]] == ["a", "c"]
    wait_until(lambda: not node.alive(), 60, "its process ended by itself")
    assert "has been taken out" in node.log_tail()
    node.start()
    wait_until(lambda: not node.alive(), 60, "it does not start again")
    assert "has been taken out" in node.log_tail()
    task = gateways[1].submit(execute_command="echo two")
    assert gateways[1].wait_done(task)["result"]["execute_output"] == "two\n"
    assert cluster.run("cluster", "remove", "nobody", on="a").returncode == 2
