"""What a user does on the first day, over HTTP, on the real file."""

from __future__ import annotations

import json
import subprocess
import urllib.request

from tests.cluster.harness import PEX, README_TASK, Khala


def test_readme_task_compiles_and_greets(shared: Khala) -> None:
    task = shared.submit(**{name: str(value) for name, value in README_TASK.items()})
    done = shared.wait_done(task)
    assert done["status"] == 5, done
    assert done["result"]["execute_output"] == "From Khala: Hello World!\n"
    # KV2 shows an executor only while it runs the task; v2 keeps it.
    assert done["executor"] is None
    assert shared.explain(task)["executor"]


def test_the_second_api_lists_and_cancels(shared: Khala) -> None:
    user = "8181"
    tasks = [shared.submit(user=user, execute_command="exit 3") for _ in range(3)]
    slow = shared.submit(user=user, execute_command="sleep 60", execute_timeout="90")
    for task in tasks:
        shared.wait_done(task)
    status, failed = shared.call("GET", f"/api/v2/tasks?user={user}&state=failed&limit=2")
    assert status == 200
    cursor = failed["next_cursor"]
    status, rest = shared.call("GET", f"/api/v2/tasks?user={user}&state=failed&cursor={cursor}")
    assert [row["id"] for row in failed["items"] + rest["items"]] == tasks[::-1]
    assert rest["next_cursor"] is None
    status, answer = shared.call("POST", f"/api/v2/tasks/{slow}/cancel")
    assert (status, answer["state"]) == (200, "cancelled")
    assert shared.wait_done(slow)["status"] == 7


def test_empty_commands_succeed_without_a_jail(shared: Khala) -> None:
    done = shared.wait_done(shared.submit())
    assert done["status"] == 5
    stages = shared.explain(done["id"])["stages"]
    assert stages["compile"]["result"] is None
    assert stages["execute"]["result"] is None


def test_compile_output_and_failure_are_told_apart(shared: Khala) -> None:
    done = shared.wait_done(shared.submit(compile_command="echo no; exit 3"))
    assert done["status"] == 2
    assert done["result"]["compile_output"] == "no\n"
    stage = shared.explain(done["id"])["stages"]["compile"]["result"]
    assert (stage["reason"], stage["exit_code"]) == ("exit_nonzero", 3)


def test_time_limit_is_explained_with_limit_and_observed_value(shared: Khala) -> None:
    done = shared.wait_done(
        shared.submit(execute_command="echo early; sleep 30", execute_timeout="1")
    )
    assert done["status"] == 4
    assert done["result"]["execute_output"] == "early\n"
    assert done["result"]["execute_error"] == "Execution time out."
    stage = shared.explain(done["id"])["stages"]["execute"]["result"]
    assert stage["reason"] == "wall_time"
    assert stage["limit"] == 1000
    assert 1000 <= stage["observed"] < 5000


def test_input_and_output_beyond_16_mb(shared: Khala) -> None:
    size = 20 * 1024 * 1024
    line = "0123456789abcde\n"
    task = shared.submit(
        execute_input=line * (size // len(line)), execute_command="cat", execute_timeout="60"
    )
    done = shared.wait_done(task, timeout_s=120)
    assert done["status"] == 5, shared.explain(task)
    url = f"{shared.url}/api/task?id={task}&file=execute_output"
    with urllib.request.urlopen(url, timeout=60) as response:
        assert response.headers["Content-Length"] == str(size)
        assert response.read() == (line * (size // len(line))).encode()


def test_cancel_kills_and_stays_cancelled(shared: Khala) -> None:
    task = shared.submit(execute_command="sleep 60", execute_timeout="120")
    assert shared.call("DELETE", f"/api/task?id={task}") == (200, {"result": 0})
    assert shared.call("DELETE", f"/api/task?id={task}") == (200, {"result": 2})
    done = shared.wait_done(task, timeout_s=5)
    assert (done["status"], done["result"]) == (7, None)


def test_long_poll_answers_when_the_task_ends(shared: Khala) -> None:
    task = shared.submit(execute_command="sleep 1", execute_timeout="10")
    status, found = shared.call("GET", f"/api/v2/tasks/{task}?wait=30s")
    assert (status, found["state"]) == (200, "succeeded")


def test_status_names_every_process(shared: Khala) -> None:
    printed = subprocess.run(
        [str(PEX), "status", "--data-dir", str(shared.data_dir), "--json"],
        capture_output=True,
        timeout=30,
        check=True,
    ).stdout
    found = {each["name"]: each for each in json.loads(printed)["processes"]}
    for name in ("judicator", "executor", "gateway", "etcd", "mongod", "judicator-serve"):
        assert found[name]["state"] == "up", found
        assert found[name]["pid"] in shared.argv_by_pid()


def test_service_listens_on_loopback_only(shared: Khala) -> None:
    ours = {str(port) for port in (shared.http_port, shared.ports["rpc"], shared.ports["mongodb"])}
    listening = subprocess.run(
        ["ss", "-Hltn"], capture_output=True, text=True, check=True, timeout=10
    ).stdout
    addresses = [line.split()[3] for line in listening.splitlines()]
    found = [address for address in addresses if address.rpartition(":")[2] in ours]
    assert len(found) >= len(ours)
    assert all(address.startswith("127.0.0.1:") for address in found), found


def test_the_benchmark_says_what_a_task_costs_and_whom() -> None:
    done = subprocess.run(
        [str(PEX), "bench", "--quick", "--json", "--slots", "2"],
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["end_to_end"]["tasks"] > 0
    assert report["control_plane"]["full_per_s"] > 0
    costs = report["end_to_end"]["cpu_ms_per_task"]
    spenders = {"jail", "executor", "judicator", "mongod", "gateway", "client"}
    assert costs.keys() == spenders | {"etcd", "supervisors"}
    assert all(costs[name] > 0 for name in spenders), costs
    assert report["ratios"]["throughput"] > 0
