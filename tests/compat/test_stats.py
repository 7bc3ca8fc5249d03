"""What ended, on the real stack: counted at once, by call, by the client and by command."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from khala.client import Khala
from tests.compat.test_quotas import PATIENCE_S, read, submit
from tests.compat.test_v2_depends import ended

USER = 4102


def sums(stack: str) -> dict[str, Any]:
    buckets = read(stack, "stats")["buckets"]
    return {
        **{name: sum(each["ended"][name] for each in buckets) for name in ("succeeded", "failed")},
        "cpu_s": sum(each["cpu_s"] for each in buckets),
        "measured": any(each["run_s"]["p50"] for each in buckets),
    }


def test_what_ended_is_counted(stack: str) -> None:
    before = sums(stack)
    work = "import time\nwhile time.process_time() < 0.3: pass"
    assert ended(stack, submit(stack, USER, f"python3 -c '{work}'"))["state"] == "succeeded"
    assert ended(stack, submit(stack, USER, "exit 3"))["state"] == "failed"
    deadline = time.monotonic() + PATIENCE_S
    while (after := sums(stack))["succeeded"] <= before["succeeded"] or (
        after["failed"] <= before["failed"]
    ):
        assert time.monotonic() < deadline, after
        time.sleep(0.5)
    assert after["cpu_s"] >= before["cpu_s"] + 0.25 and after["measured"]
    found = read(stack, "stats?step=1d")
    assert found["step_s"] == 86_400 and len(found["buckets"]) in (1, 2)  # one at midnight
    assert found["buckets"][0]["at"] == found["from"] < found["to"]
    with Khala(stack) as client:
        seen = client.stats(step="5m")
    assert len(seen.buckets) in (288, 289)
    assert sum(each.ended.succeeded for each in seen.buckets) >= after["succeeded"]
    argv = [sys.executable, "-m", "khala", "stats", "--url", stack, "--since", "1h"]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert "#" in shown.stdout and "x\n" in shown.stdout
    assert " succeeded" in shown.stdout and " failed" in shown.stdout
