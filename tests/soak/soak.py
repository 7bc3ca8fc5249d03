"""Runs a soak and judges it: `python -m tests.soak.soak --tasks 5000 --seed 1`.

Tasks are drawn by the seed and given in batches; meanwhile the executor is killed at moments drawn
by the seed too, and `up` starts it again. A failing run is repeated by its seed, as far as a
machine repeats anything.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.harness import Khala, wait_until
from tests.soak.leftovers import leftovers
from tests.soak.workload import GIVEN_UP, KINDS, Kind

_UID_BASE = 1_850_000_000
_BATCH = 100
_SLOTS = 6
_CRASH_LIMIT = 3
_RSS_GROWTH_KIB = 96 * 1024
_FD_GROWTH = 64
_TASK_TIMEOUT_S = 180.0


@dataclass
class Report:
    """What a soak counted; `faults` is empty for a good one."""

    ended: collections.Counter[str] = field(default_factory=collections.Counter)
    kills: int = 0
    repeated: int = 0
    rss_kib: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [f"{count:6} {reason}" for reason, count in self.ended.most_common()]
        lines.append(f"{self.kills} kills of the executor, {self.repeated} tasks run again")
        memory = f"{min(self.rss_kib)} to {max(self.rss_kib)} KiB"
        opened = f"{min(self.descriptors)} to {max(self.descriptors)} descriptors"
        lines.append(f"executor: {memory}, {opened}")
        return "\n".join([*lines, *self.faults[:40], f"{len(self.faults)} faults"])


class Soak:
    def __init__(self, khala: Khala, seed: int) -> None:
        self._khala = khala
        self._chance = random.Random(seed)
        self._deadly = random.Random(seed + 1)
        self._over = threading.Event()
        self.report = Report()

    def run(self, tasks: int, seconds: float) -> Report:
        """That many tasks, or fewer when the time is up."""
        until = time.monotonic() + seconds
        killer = threading.Thread(target=self._kill_now_and_then)
        killer.start()
        try:
            weights = [kind.weight for kind in KINDS]
            for start in range(0, tasks, _BATCH):
                if time.monotonic() > until:
                    break
                count = min(_BATCH, tasks - start)
                self._batch(self._chance.choices(KINDS, weights, k=count))
        finally:
            self._over.set()
            killer.join()
        self._settle()
        return self.report

    def _batch(self, kinds: list[Kind]) -> None:
        ids = [self._submit(kind) for kind in kinds]
        assert len(set(ids)) == len(ids)
        for kind, task in zip(kinds, ids, strict=True):
            self._judge(kind, self._wait(task))
        self._look_at_executor()

    def _judge(self, kind: Kind, told: dict[str, Any]) -> None:
        report, reason = self.report, str(told["reason"])
        report.ended[reason] += 1
        report.repeated += told["attempt"] > 1
        if reason == GIVEN_UP and told["crashes"] >= _CRASH_LIMIT:
            return
        if reason not in kind.reasons:
            report.faults.append(f"{kind.name}: ended for {reason}: {json.dumps(told)[:900]}")
            return
        stage = (told["stages"].get("execute") or {}).get("result") or {}
        text = (stage.get("stdout") or {}).get("text")
        expected = {
            "success": f"{told['id']} {told['attempt']}\n",
            "environment": "5\n",
            "input": "givengiven",
            "traps for the service": "right\n",
        }.get(kind.name)
        if expected is not None and text != expected:
            report.faults.append(f"{kind.name}: printed {text!r} and not {expected!r}")
        if kind.name == "links as outputs" and (told["artifacts"] or {}).get("files") != 2:
            report.faults.append(f"{kind.name}: {told['artifacts']}")

    # ---- the executor -----------------------------------------------------------------------

    def _kill_now_and_then(self) -> None:
        """Only one that serves: else a busy machine would never get to run a task. The first one as
        soon as it runs some, or a quick machine would have done all of few before."""
        while not self._over.wait(0.1):
            status = self._get("/api/v2/status")
            if not status or not status["slots"]:
                continue
            if self.report.kills:
                if self._over.wait(self._deadly.uniform(2, 20)):
                    return
            elif not status["running"]:
                continue
            with contextlib.suppress(AssertionError, ProcessLookupError):
                os.kill(self._khala.pid_of("executor"), signal.SIGKILL)
                self.report.kills += 1
                # Until its death is known, it still counts.
                self._over.wait(5)

    def _look_at_executor(self) -> None:
        # One that was just killed is gone, or a zombie without memory.
        with contextlib.suppress(AssertionError, OSError, ValueError, IndexError):
            pid = self._khala.pid_of("executor")
            status = Path(f"/proc/{pid}/status").read_text()
            rss = int(status.split("VmRSS:")[1].split()[0])
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
            self.report.rss_kib.append(rss)
            self.report.descriptors.append(descriptors)

    def _settle(self) -> None:
        """All slots are free again, and the executor is no larger than it was."""
        report = self.report

        def idle() -> bool:
            status = self._get("/api/v2/status")
            return bool(
                status
                and status["running"] == status["queued"] == 0
                and status["free"] == status["slots"] == _SLOTS
            )

        wait_until(idle, 90, "all slots are free")
        self._look_at_executor()
        growth = max(report.rss_kib) - min(report.rss_kib)
        if growth > _RSS_GROWTH_KIB:
            report.faults.append(f"the executor grew by {growth} KiB: {report.rss_kib}")
        if report.descriptors[-1] - min(report.descriptors) > _FD_GROWTH:
            report.faults.append(f"descriptors of the executor: {report.descriptors}")

    # ---- HTTP -------------------------------------------------------------------------------

    def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._khala.http_port, timeout=40)
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def _get(self, path: str) -> Any:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            status, answer = self._request("GET", path)
            if status == 200:
                return answer
        return None

    def _submit(self, kind: Kind) -> str:
        body = json.dumps(kind.document()).encode()
        status, answer = self._request("POST", "/api/v2/tasks", body)
        assert status == 201, (kind.name, status, answer)
        return str(answer["id"])

    def _wait(self, task: str) -> dict[str, Any]:
        deadline = time.monotonic() + _TASK_TIMEOUT_S
        while time.monotonic() < deadline:
            told = self._get(f"/api/v2/tasks/{task}?wait=20s")
            if told and told["state"] in ("succeeded", "failed", "cancelled", "error"):
                found: dict[str, Any] = told
                return found
        raise AssertionError(f"task {task} has not ended: {self._get(f'/api/v2/tasks/{task}')}")


def soak(data_dir: Path, tasks: int, seed: int, seconds: float = 86400) -> Report:
    """In a Khala of its own, which is stopped at the end and has left nothing."""
    uid_base = _UID_BASE + 1000 * (os.getpid() % 40_000)
    options = ("--task-uid-base", str(uid_base))
    khala = Khala(data_dir, slots=_SLOTS, options=options)
    try:
        khala.start()
        report = Soak(khala, seed).run(tasks, seconds)
        # Between the death of one executor and its successor, its guardian is at work.
        khala.stop()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not leftovers(data_dir, uid_base), 20, "nothing is left")
        report.faults += leftovers(data_dir, uid_base)
    finally:
        khala.destroy()
    return report


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="build/test soak", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=86400, help="begin nothing after that")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="khala-soak-") as folder:
        report = soak(Path(folder) / "data", options.tasks, options.seed, options.seconds)
    took = time.monotonic() - started
    sys.stdout.write(f"{report.text()}\n{report.ended.total()} tasks in {took:.0f} s\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
