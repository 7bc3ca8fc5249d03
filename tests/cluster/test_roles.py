"""The three roles as processes of their own, and two whole Khalas on one host."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.harness import PEX, Khala, running, wait_until

#: The exit code of a command that what there is does not allow.
CONFLICT = 5


@dataclass(frozen=True)
class Apart:
    khala: Khala
    roles: dict[str, subprocess.Popen[bytes]]


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Apart]:
    """Started one by one, the judicator last: each waits for what it needs."""
    khala = Khala(tmp_path / "data")
    environment = {
        **os.environ,
        "KHALA_DATA_DIR": str(khala.data_dir),
        "KHALA_ETCD_PEER_PORT": str(khala.ports["etcd_peer"]),
        "KHALA_ETCD_CLIENT_PORT": str(khala.ports["etcd_client"]),
        "KHALA_MONGODB_PORT": str(khala.ports["mongodb"]),
        "KHALA_RPC_PORT": str(khala.ports["rpc"]),
        "KHALA_HTTP_PORT": str(khala.http_port),
    }
    started: dict[str, subprocess.Popen[bytes]] = {}
    with open(khala.log, "ab") as log:
        try:
            for role in ("gateway", "executor", "judicator"):
                started[role] = subprocess.Popen([str(PEX), role], env=environment, stderr=log)
            yield Apart(khala, started)
        finally:
            for process in reversed(started.values()):
                process.send_signal(signal.SIGTERM)
            for process in reversed(started.values()):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(60)
                process.kill()
                process.wait()
            khala.destroy()


def test_roles_find_each_other_and_one_that_left_is_forgotten(apart: Apart) -> None:
    khala = apart.khala

    def ready() -> bool:
        with contextlib.suppress(OSError):
            return khala.call("GET", "/readyz")[0] == 200
        return False

    wait_until(ready, 90, "the gateway is ready")
    task = khala.submit(execute_command="echo apart")
    assert khala.wait_done(task)["result"]["execute_output"] == "apart\n"

    # What a gateway saw of the cluster is a moment old, and the executor has just come.
    (executor,) = wait_until(
        lambda: khala.call("GET", "/api/v2/nodes")[1]["executors"], 60, "it is listed"
    )
    name = executor["name"]
    stays = node(khala, "rm", name)
    assert stays.returncode == CONFLICT
    assert f"executor {name} is not lost" in stays.stderr
    assert node(khala, "cordon", name, "--reason", "a new disk").returncode == 0
    shown = node(khala, "get", name).stdout
    assert "online, cordoned" in shown
    assert "a new disk" in shown
    assert node(khala, "uncordon", name).stdout == f"{name} gets work again.\n"
    assert node(khala, "drain", name, "--monitor").stdout == f"{name} is empty; safe to stop.\n"

    def examined() -> dict[str, dict[str, Any]]:
        found = json.loads(node(khala, "doctor", name, "-o", "json").stdout)
        return {each["role"]: each for each in found}

    wait_until(lambda: len(examined()) == 2, 120, "both roles have looked at their host")
    by_role = examined()
    assert all(each["able"] for each in by_role.values()), by_role
    checks = [each["check"] for each in by_role["executor"]["findings"]]
    assert "nsjail" in checks
    assert "trial jail" not in checks
    assert checks[-1] == "sandbox"
    ports = [each for each in by_role["judicator"]["findings"] if each["check"] == "ports"]
    assert ports[0]["level"] == "good", ports

    # They have started programs by now, at which no library may say anything of its own.
    lines = khala.log.read_text().splitlines()
    assert [line for line in lines if not line.startswith("{")] == []

    config = khala.call("GET", "/api/v2/cluster/config")[1]
    assert [each["name"] for each in config["judicators"]] == [name]
    assert config["judicators"][0]["backups_kept"] == 7

    apart.roles["executor"].send_signal(signal.SIGTERM)
    wait_until(lambda: "lost" in node(khala, "get", name).stdout, 90, "its session has ended")
    assert node(khala, "rm", name).returncode == 0
    assert khala.call("GET", "/api/v2/nodes")[1]["executors"] == []
    # The judicator of this host has the same name.
    shown = node(khala, "get", name).stdout
    assert "leader" in shown
    assert "executor" not in shown
    assert "is a judicator" in node(khala, "rm", name).stderr


def node(khala: Khala, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`khala.pex node`, through the gateway."""
    return subprocess.run(
        [str(PEX), "node", *arguments, "--url", khala.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_two_on_one_host_do_not_meet(shared: Khala, tmp_path: Path) -> None:
    with running(tmp_path / "data") as other:
        here = shared.submit(execute_command="echo here")
        there = other.submit(execute_command="echo there")
        assert shared.wait_done(here)["result"]["execute_output"] == "here\n"
        assert other.wait_done(there)["result"]["execute_output"] == "there\n"
        assert other.call("GET", f"/api/task?id={here}") == (200, {"result": 2, "task": None})
