"""Users of a judicator's double, one of each role and two submitters, at a gateway."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from khala.model.access import Role
from khala.model.spec import StageLimits
from khala.protocol.rpc import SubmitTask
from tests.unit.gateway.double import JudicatorDouble

TASKS = "/api/v2/tasks"
DOCUMENT = {"stages": {"execute": {"command": "true"}}}
ANN, BEN = 7, 8


_LIMITS = StageLimits(
    wall_ms=1000,
    cpu_ms=1000,
    memory_bytes=1 << 20,
    pids=1,
    output_bytes=1 << 20,
    file_bytes=1 << 20,
    cpus=1.0,
    disk_bytes=1 << 20,
    disk_files=1,
)


def submission(user: int) -> SubmitTask:
    return SubmitTask(
        user=user,
        compile_timeout_s=1,
        execute_timeout_s=1,
        compile_limits=_LIMITS,
        execute_limits=_LIMITS,
        parts={},
    )


class People:
    """A gateway, and one who asks it."""

    def __init__(self, http: aiohttp.ClientSession, base: str, judicator: JudicatorDouble) -> None:
        self.http = http
        self.base = base
        self.judicator = judicator
        access = judicator.access
        self.tokens = {
            "vic": access.make("vic", Role.VIEWER, 6),
            "ann": access.make("ann", Role.SUBMITTER, ANN),
            "ben": access.make("ben", Role.SUBMITTER, BEN),
            "olga": access.make("olga", Role.OPERATOR, 9),
            "adam": access.make("adam", Role.ADMIN, 10),
        }

    async def ask(
        self, who: str | None, method: str, path: str, **body: Any
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        async with self.http.request(method, self.base + path, headers=headers, **body) as answer:
            raw = await answer.read()
            return answer.status, json.loads(raw) if raw else {}

    def task_of(self, user: int) -> str:
        return self.judicator.add(submission(user)).id
