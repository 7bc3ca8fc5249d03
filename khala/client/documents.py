"""Documents as they are written, changes of tasks, and acts on many, as methods of the client."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec
from msgspec import Struct

from khala.client.jobs import JobCalls
from khala.client.request import Json, TaskPatch
from khala.client.transport import JSON, Call, parse
from khala.protocol.v2 import (
    Acted,
    Batch,
    BatchPlan,
    Created,
    CreatedJob,
    Preset,
    Presets,
    Task,
)

#: Fields that only the document of a job has.
_OF_JOBS = ("task", "tasks", "array", "entries")
_BATCH = "/api/v2/tasks/batch"
_PRESETS = "/api/v2/presets"


class Applied(Struct, frozen=True, kw_only=True):
    id: str
    #: False: it had been accepted before.
    new: bool


class DocumentCalls(JobCalls):
    """A part of `AsyncKhala`."""

    async def apply(self, document: Mapping[str, object], key: str) -> Applied:
        """Submit the document of a task or a job, once for each key. Raise `Conflict` if the key
        stands for another document."""
        job = any(name in document for name in _OF_JOBS)
        call = Call(
            method="POST",
            path="/api/v2/jobs" if job else "/api/v2/tasks",
            body=msgspec.json.encode(document),
            headers={**JSON, "Idempotency-Key": key},
        )
        reply = await self._transport.exchange(call)
        made = parse(CreatedJob, reply.body).id if job else parse(Created, reply.body).id
        return Applied(id=made, new=not reply.replayed)

    async def submit_batch(
        self, documents: Sequence[Mapping[str, object]], *, key: str | None = None
    ) -> Batch:
        """Up to 1000 documents of tasks; each is accepted or refused by itself."""
        headers = {**JSON, "Idempotency-Key": key or secrets.token_hex(16)}
        body = msgspec.json.encode({"tasks": documents})
        answer = await self._ask("POST", _BATCH, body=body, headers=headers)
        return parse(Batch, answer)

    async def plan_batch(self, documents: Sequence[Mapping[str, object]]) -> BatchPlan:
        """What each of them would get; nothing is submitted."""
        fields = {"body": msgspec.json.encode({"tasks": documents}), "headers": JSON}
        answer = await self._ask("POST", _BATCH, query={"dry_run": "true"}, **fields)
        return parse(BatchPlan, answer)

    async def presets(self) -> list[Preset]:
        """What documents may begin with, by name."""
        return parse(Presets, await self._ask("GET", _PRESETS)).presets

    async def put_preset(
        self, name: str, task: Mapping[str, object], *, description: str = ""
    ) -> Preset:
        """Make a preset out of a part of a task document, or replace what it says."""
        body = msgspec.json.encode({"description": description, "task": task})
        path = f"{_PRESETS}/{quote(name, safe='')}"
        return parse(Preset, await self._ask("PUT", path, body=body, headers=JSON))

    async def remove_preset(self, name: str) -> Preset:
        """What it said. Raise `NotFound`."""
        return parse(Preset, await self._ask("DELETE", f"{_PRESETS}/{quote(name, safe='')}"))

    async def patch_task(
        self, task: str, patch: TaskPatch, *, if_match: Task | None = None
    ) -> Task:
        """Change it, all or nothing; as it is then. Raise `NotWaiting` if it does not wait and the
        patch is about that; `Changed` if it is not any more as in `if_match`, which was read."""
        path = f"/api/v2/tasks/{quote(task, safe='')}"
        headers = {"Content-Type": "application/merge-patch+json"}
        if if_match is not None:
            headers["If-Match"] = f'"{if_match.tag}"'
        body = msgspec.json.encode(patch)
        return parse(Task, await self._ask("PATCH", path, body=body, headers=headers))

    async def cancel_matching(
        self,
        matching: Json,
        expect_count: int,
        *,
        reason: str = "",
        by: str = "",
        grace_s: float = 0,
    ) -> Acted:
        """Cancel all open tasks of a filter. Raise `CountDiffers` if they are not as many."""
        document: dict[str, object] = {
            "action": "cancel",
            "filter": matching,
            "expect_count": expect_count,
            "reason": reason,
            "by": by,
        }
        if grace_s:  # older gateways do not know it
            document["grace_s"] = grace_s
        return await self._act(document)

    async def patch_matching(self, matching: Json, expect_count: int, patch: TaskPatch) -> Acted:
        """Change all tasks of a filter, each by itself; those that wait, if the patch is about
        that. Raise `CountDiffers` if they are not as many."""
        document = {
            "action": "patch",
            "patch": patch,
            "filter": matching,
            "expect_count": expect_count,
        }
        return await self._act(document)

    async def _act(self, document: Mapping[str, object]) -> Acted:
        body = msgspec.json.encode(document)
        answer = await self._ask("POST", "/api/v2/tasks/actions", body=body, headers=JSON)
        return parse(Acted, answer)
