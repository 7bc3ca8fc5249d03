"""Clients of a run: an open loop of submissions, readers, cancels, and the history they make.

Submissions are sent at their times whether or not earlier ones were answered, so an outage cannot
hide behind clients that wait for it. What a client does next is drawn from the row's seed; when it
gets its answers is the machine's.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

from tests.checker.history import (
    Cancel,
    History,
    Read,
    Result,
    Seen,
    Submit,
)
from tests.cluster.faults.cluster import BOUNDED_USER, Cluster
from tests.cluster.faults.service import Service
from tests.cluster.faults.witness import SCRIPT, uptime

RATE = 2.5
#: A try is given up after this, and a submission when it was not accepted in this time.
ANSWER_S, GIVE_UP_S = 15.0, 240.0


@dataclass(frozen=True, slots=True)
class Work:
    """What a task does, and how often it is drawn."""

    script: str
    weight: int
    wall_s: float = 30.0


WORKS = (
    Work("sleep 0.1", 8),
    Work("sleep 2", 4),
    Work("false", 2),
    Work("sleep 30", 1, wall_s=1.0),
)
LONG = Work("sleep 6", 1)
#: Some of these; what else a row submits is to come to the end that the row waits for.
CANCELLED = frozenset(work.script for work in (*WORKS, LONG))


@dataclass(frozen=True, slots=True)
class Submission:
    """What all its tries have in common."""

    number: int
    user: int
    work: Work
    key: str | None


class Traffic:
    """Use as a context: sends until it is left, then lets everything sent be answered."""

    def __init__(self, cluster: Cluster, seed: int, first: int) -> None:
        self._cluster = cluster
        self._chance = random.Random(seed)
        self.history = History()
        #: Numbers of this run's submissions: no run sees another's. They are users too, but for
        #: those of the user with a quota.
        self.scene = first
        self._numbers = itertools.count(first)
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(48)
        self._threads = [threading.Thread(target=each) for each in (self._send, self._look)]
        self._acts: list[Future[object]] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._pool.shutdown()
        for act in self._acts:
            act.result()

    def _spawn(self, act: Callable[..., object], *arguments: object) -> None:
        self._acts.append(self._pool.submit(act, *arguments))

    # ---- submissions ------------------------------------------------------------------------

    def _send(self) -> None:
        weights = [work.weight for work in WORKS]
        while not self._over.wait(self._chance.expovariate(RATE)):
            work = self._chance.choices(WORKS, weights)[0]
            keyed = self._chance.random() < 0.8
            user = BOUNDED_USER if self._chance.random() < 0.3 else None
            self._spawn(self.submit, work, user, keyed)
            if self._chance.random() < 0.1:
                self._spawn(self._reuse)

    def submit(self, work: Work, user: int | None = None, keyed: bool = True) -> str | None:
        """Until it was accepted, or it is unknown whether it was and there is no key to ask by."""
        number = next(self._numbers)
        key = f"key {number}" if keyed else None
        submission = Submission(number, user or number, work, key)
        gateways = self._cluster.gateways
        give_up = time.monotonic() + GIVE_UP_S
        turn = number
        while time.monotonic() < give_up:
            call = self._try(gateways[turn % len(gateways)], submission)
            turn += 1
            if call.result == "ok":
                return call.task
            if call.result == "info" and not keyed:
                return None
            time.sleep(0.5)
        return None

    def _try(self, gateway: Service, submission: Submission) -> Submit:
        at = uptime()
        status, told = self._cluster.call(
            gateway,
            "POST",
            "/api/v2/tasks",
            document(submission, self.scene),
            key=submission.key,
            timeout_s=ANSWER_S,
        )
        call = Submit(
            client=gateway.name,
            at=at,
            until=None if status == -1 else uptime(),
            result=_result(status),
            status=status,
            nonce=str(submission.number),
            user=str(submission.user),
            request=submission.work.script,
            key=submission.key,
            task=told["id"] if _result(status) == "ok" else None,
        )
        self.history.add(call)
        return call

    def _reuse(self) -> None:
        """Another request under a key that was answered."""
        answered = [call for call in self.history.of(Submit) if call.key and call.result == "ok"]
        if not answered:
            return
        earlier = self._chance.choice(answered)
        gateway = self._chance.choice(self._cluster.gateways)
        at = uptime()
        number, user, work = int(earlier.nonce), int(earlier.user), Work("echo another", 1)
        other = document(Submission(number, user, work, earlier.key), self.scene)
        status, told = self._cluster.call(gateway, "POST", "/api/v2/tasks", other, key=earlier.key)
        self.history.add(
            Submit(
                client=gateway.name,
                at=at,
                until=None if status == -1 else uptime(),
                result=_result(status),
                status=status,
                nonce=earlier.nonce,
                request="another",
                key=earlier.key,
                task=told["id"] if _result(status) == "ok" else None,
                conflict=status == 422,
            )
        )

    # ---- readers and cancels ----------------------------------------------------------------

    def _look(self) -> None:
        while not self._over.wait(0.4):
            accepted = [call for call in self.history.of(Submit) if call.task is not None]
            if accepted:
                task = self._chance.choice(accepted).task
                self._spawn(self.read, task, self._chance.choice(self._cluster.gateways))
                latest = accepted[-1]
                if self._chance.random() < 0.08 and latest.request in CANCELLED:
                    self._spawn(self._cancel, latest.task)

    def read(self, task: str, gateway: Service) -> Seen | None:
        at = uptime()
        status, told = self._cluster.call(gateway, "GET", f"/api/v2/tasks/{task}")
        known = status in {200, 404}
        seen = seen_of(told) if status == 200 else None
        self.history.add(
            Read(
                client="reader",
                at=at,
                until=uptime() if known else None,
                result="ok" if known else "info",
                status=status,
                task=task,
                via=gateway.name,
                seen=seen,
            )
        )
        return seen

    def _cancel(self, task: str) -> None:
        gateway = self._chance.choice(self._cluster.gateways)
        at = uptime()
        status, _ = self._cluster.call(gateway, "POST", f"/api/v2/tasks/{task}/cancel")
        until = None if status == -1 else uptime()
        self.history.add(
            Cancel(
                client=gateway.name, at=at, until=until, result=_result(status), status=status,
                task=task,
            )
        )  # fmt: skip


def document(submission: Submission, scene: int) -> dict[str, Any]:
    """A task that tells the witness of itself."""
    work, nonce = submission.work, str(submission.number)
    script = SCRIPT.format(nonce=nonce, work=work.script)
    return {
        "user": submission.user,
        "labels": {"scene": str(scene), "nonce": nonce},
        "stages": {
            "execute": {"command": script, "limits": {"wall_s": work.wall_s, "memory": "64MiB"}}
        },
    }


def seen_of(told: dict[str, Any]) -> Seen:
    result = (told["stages"].get("execute") or {}).get("result") or {}
    return Seen(
        state=told["state"],
        attempt=told["attempt"],
        nonce=told["labels"]["nonce"],
        reason=told["reason"],
        output=(result.get("stdout") or {}).get("text"),
    )


def _result(status: int) -> Result:
    """The promise of the API: 504 and silence may have happened, any other refusal did not."""
    if status in {200, 201}:
        return "ok"
    return "info" if status in {-1, 500, 504} else "fail"
