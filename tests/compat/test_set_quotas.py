"""Quotas that are set while a cluster runs that was started without any: in force within seconds,
kept over the death of its judicator, and gone with all that they held when they are removed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.harness import Khala
from tests.compat.conftest import Up, running
from tests.compat.test_quotas import PATIENCE_S, cancel, document, post, read, submit, until
from tests.compat.test_v2_depends import ended

CONFIG = "cluster/config"
MERGE_PATCH = "application/merge-patch+json"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("quotas")) as up:
        yield up


def patch(base: str, quotas: object, **headers: str) -> tuple[int, Any]:
    return change(base, {"quotas": quotas}, **headers)


def change(base: str, document: object, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{base}/api/v2/{CONFIG}",
        data=json.dumps(document).encode(),
        method="PATCH",
        headers={"Content-Type": MERGE_PATCH, **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=90) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def comes_true(condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def limits(base: str, user: int) -> dict[str, Any]:
    found = read(base, f"quota?user={user}")
    return {name: each["limit"] for name, each in found.items() if name != "user"}


def read_if_served(base: str, path: str) -> dict[str, Any] | None:
    """None while there is no judicator."""
    try:
        return read(base, path)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 503:
                raise
            return None


def waits_for_quota(base: str, task: str) -> bool:
    """Said by a judicator that has begun."""
    found = read_if_served(base, f"tasks/{task}")
    if found is None:
        return False
    assert found["state"] == "queued"
    return bool(found["pending"]) and found["pending"]["code"] == "quota"


def until_in_force(base: str) -> None:
    def everywhere() -> bool:
        config = read_if_served(base, CONFIG)
        if config is None or config["quotas"] is None:
            return False
        known = [each["in_force"]["revision"] for each in config["judicators"]]
        return bool(known) and set(known) == {config["quotas"]["revision"]}

    comes_true(everywhere)


def test_a_bound_refuses_the_next_submission_until_it_is_raised(up: Up) -> None:
    holding = [submit(up.url, 7, "sleep 600") for _ in range(2)]  # both slots
    for each in holding:
        until(up.url, f"tasks/{each}", "state", "running")
    waiting = submit(up.url, 7, "true")
    status, answer = patch(up.url, {"users": {"7": {"queued": 1}}})
    assert (status, answer["quotas"]["revision"]) == (200, 1)
    comes_true(lambda: post(up.url, document(7, "true"))[0] == 429)
    refused = post(up.url, document(7, "true"))[1]
    assert "may have 1 tasks waiting: " in refused["detail"]
    assert "khala.pex quota set 7 --queued N" in refused["detail"]
    assert limits(up.url, 7)["queued"] == 1
    assert post(up.url, document(8, "true"))[0] == 201
    assert patch(up.url, {"users": {"7": {"queued": 100}}})[0] == 200
    comes_true(lambda: post(up.url, document(7, "true"))[0] == 201)
    cancel(up.url, *(f"tasks/{each}" for each in holding))
    assert ended(up.url, waiting)["state"] == "succeeded"


def test_a_running_bound_holds_lifts_and_survives_its_judicator(up: Up) -> None:
    assert patch(up.url, {"default": {"running": 1}})[0] == 200
    until_in_force(up.url)
    first, second, third = (submit(up.url, 9, "sleep 600") for _ in range(3))
    until(up.url, f"tasks/{first}", "state", "running")
    comes_true(lambda: waits_for_quota(up.url, second))
    Khala(up.data_dir).kill9("judicator-serve")
    comes_true(lambda: waits_for_quota(up.url, second))
    until_in_force(up.url)
    assert limits(up.url, 9)["running"] == 1
    assert patch(up.url, {"users": {"9": {"running": 2}}})[0] == 200
    until(up.url, f"tasks/{second}", "state", "running")
    assert waits_for_quota(up.url, third)
    # Nothing is set any more: nobody but the look around lets go of the third one.
    assert patch(up.url, None)[0] == 200
    until_in_force(up.url)
    assert set(limits(up.url, 9).values()) == {None}
    cancel(up.url, f"tasks/{first}", f"tasks/{second}")
    until(up.url, f"tasks/{third}", "state", "running")
    cancel(up.url, f"tasks/{third}")


def test_somebody_elses_change_is_met_with_412_and_stands_in_the_audit_log(up: Up) -> None:
    request = urllib.request.Request(f"{up.url}/api/v2/{CONFIG}")
    with urllib.request.urlopen(request, timeout=90) as response:
        tag = response.headers["ETag"]
    assert patch(up.url, {"users": {"11": {"cpu_s": 60}}}, **{"If-Match": tag})[0] == 200
    status, answer = patch(up.url, {"users": None}, **{"If-Match": tag})
    assert (status, answer["code"]) == (412, "precondition_failed")
    newest = read(up.url, "audit?act=config.patch")["items"]
    assert [each["status"] for each in newest[:2]] == [412, 200]
    assert newest[1]["detail"] == 'quotas {"users":{"11":{"cpu_s":60}}}'


def test_the_command_line_sets_and_removes_them(up: Up) -> None:
    def khala(*words: str) -> list[list[str]]:
        argv = [sys.executable, "-m", "khala", "quota", *words, "--url", up.url]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        assert not done.stderr
        return [line.split() for line in done.stdout.splitlines()]

    shown = khala("set", "12", "--running", "4", "--cpu", "2h", "--bytes", "none")
    assert ["12", "none", "4", "2h", "none", "running,cpu,bytes"] in shown
    assert limits(up.url, 12)["running"] == 4
    assert khala("--user", "12")[2] == ["running", "tasks", "0", "4"]
    assert not [line for line in khala("unset", "12") if line[0] == "12"]
    assert limits(up.url, 12)["running"] is None
