"""`GET /api/v2/tasks/ID/explain`: what keeps each executor from a task, or why it ended; and its
attempts."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import KhalaError
from khala.model.holds import Hold
from khala.model.ids import TaskId, parse_task_id
from khala.model.task import Task, TaskState
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.queue import QueuePlace
from khala.protocol.v2 import ProblemCode
from roles.gateway.blocking import find_blocking, would_run_if
from roles.gateway.cluster import Cluster
from roles.gateway.kv2_view import explain
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF
from roles.gateway.pending import held_by_quota_alone, why_held_by_person, why_pending, why_quota
from roles.gateway.removal import why_removed
from roles.gateway.turns import estimate, say
from roles.gateway.v2_quota import load_quota
from roles.gateway.view_attempts import view_attempts


class Explanations(Struct, frozen=True, kw_only=True):
    """The handler, and what it answers from."""

    client: JudicatorClient
    cluster: Cluster

    @declare(
        Operation(
            method="GET",
            path="/api/v2/tasks/<task_id:str>/attempts",
            tag="Tasks",
            answers={200: Answer(v2.Attempts)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def list_attempts(self, _: Request, task_id: str) -> HTTPResponse:
        """List the tries of a task: where, when, and how each of them ended."""
        task = await self.client.get(parse_task_id(task_id))
        return _json(view_attempts(task))

    @declare(
        Operation(
            method="GET",
            path="/api/v2/tasks/<task_id:str>/explain",
            tag="Tasks",
            answers={200: Answer(v2.Explanation)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def explain_task(self, _: Request, task_id: str) -> HTTPResponse:
        """Say why a task does not run yet, or why it ended as it did."""
        task = await self.client.get(parse_task_id(task_id))
        view = await explain_now(self.cluster, task)
        if held_by_quota_alone(task):
            view = replace(view, summary=await self._why_quota(task) or view.summary)
        view = replace(view, attempts=view_attempts(task).attempts)
        if task.state is TaskState.QUEUED and task.hold is None:
            place = await self._place(task)
            view = replace(view, position=place.position, position_is_exact=place.exact)
            view = await self._with_turn(view, task, place)
        return _json(view)

    async def _why_quota(self, task: Task) -> str | None:
        try:
            seen = await load_quota(self.client, task.spec.user)
        except KhalaError:
            return None
        return why_quota(seen.user, seen.limits, seen.used)

    async def _with_turn(
        self, view: v2.Explanation, task: Task, place: QueuePlace
    ) -> v2.Explanation:
        try:
            seen = await self.cluster.glance()
        except KhalaError:
            return view
        turn = estimate(task, why_pending(task, seen), place.ahead, seen)
        if turn is None:
            return view
        summary = f"{view.summary.rstrip('.')}. {say(turn)}"
        return replace(view, summary=summary, estimated_start=turn)

    async def _place(self, task: Task) -> QueuePlace:
        """It has none before its job has made it."""
        try:
            return await self.client.find_place(task.id)
        except KhalaError:
            return QueuePlace(position=None)


def _json(view: Struct) -> HTTPResponse:
    headers = {**NOSNIFF, "Cache-Control": "no-store"}
    return HTTPResponse(v2.encode(view), headers=headers, content_type=JSON)


def _blocks_of(task: TaskId, hold: Hold) -> list[v2.Blocking]:
    """Of what no executor stands in the way."""
    return [
        v2.Blocking(code=v2.BlockingCode.HELD, detail=detail, nodes=[], count=0)
        for detail in why_held_by_person(task, hold)
    ]


async def _why_removed(cluster: Cluster, task: Task) -> str | None:
    try:
        seen = await cluster.glance()
    except KhalaError:
        return None
    return why_removed(task, seen.keep)


async def explain_now(cluster: Cluster, task: Task) -> v2.Explanation:
    """By what the judicators know of executors now."""
    if task.outcome is not None:
        return v2.Explanation(
            state=task.state,
            summary=explain(task.outcome),
            removal=await _why_removed(cluster, task),
        )
    if task.state is not TaskState.QUEUED:
        where = f" on {task.executor}" if task.executor else ""
        return v2.Explanation(
            state=task.state, summary=f"It runs{where}, as attempt {task.attempt}."
        )
    try:
        seen = await cluster.view()
    except KhalaError as error:
        return v2.Explanation(state=task.state, summary=f"Nobody can say: {error.message}")
    pending = why_pending(task, seen)
    if task.hold is not None:
        return v2.Explanation(
            state=task.state, summary=pending.detail, blocking=_blocks_of(task.id, task.hold)
        )
    return v2.Explanation(
        state=task.state,
        summary=pending.detail,
        blocking=find_blocking(task.spec, seen.executors),
        would_run_if=would_run_if(task.spec, seen.executors),
    )
