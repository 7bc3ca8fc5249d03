"""`POST /api/v2/tasks/actions`: one act on all tasks of a filter, if they are as many as expected:
nobody acts on more than they saw."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import AlreadyDone, CountDiffers, KhalaError, NotWaiting, TooLarge
from khala.model.ids import TaskId
from khala.model.limits import LIST_LIMIT_MAX
from khala.model.outcome import Cancellation
from khala.model.patch import Patch
from khala.model.task import TERMINAL, TaskState
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.rpc import ListTasks
from khala.protocol.v2 import IssueCode, ProblemCode
from roles.gateway.callers import Caller, caller_of
from roles.gateway.documents import parse_document
from roles.gateway.filters import FilterSpec, faults_of, filter_of
from roles.gateway.issues import Invalid, Issues
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.ownership import Owned, only_user_of
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.spec_cancel import CancelSpec, cancellation_of
from roles.gateway.spec_patch import PatchSpec, patch_of

#: Tasks of one request that are acted on at once.
AT_ONCE = 32
#: Failures of one request that are named.
FAILURES_SHOWN = 20
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
_OPEN = tuple(state for state in TaskState if state not in TERMINAL)


class Action(StrEnum):
    CANCEL = "cancel"
    PATCH = "patch"


class ActionSpec(CancelSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One act on all tasks of a filter. `reason`, `by` and `grace_s` are of a cancellation."""

    action: Action
    #: What is to be another of them, of `patch`.
    patch: PatchSpec | None = None
    #: Of the tasks that have not ended; of a `patch` with priority or held, of those that wait, and
    #: of any other of all. A submitter's are its own.
    filter: FilterSpec
    #: Nothing is done if there are more or fewer.
    expect_count: Annotated[int, Meta(ge=0, le=LIST_LIMIT_MAX)]


_decoder = msgspec.json.Decoder(ActionSpec)


class TaskActions(Struct, frozen=True, kw_only=True):
    """The handler, and what it needs."""

    client: JudicatorClient

    @declare(
        Operation(
            method="POST",
            path="/api/v2/tasks/actions",
            owned=Owned.USER,
            act="task.bulk",
            noted=("action", "filter", "expect_count", "patch", "reason", "by"),
            tag="Tasks",
            request={JSON: ActionSpec},
            answers={200: Answer(v2.Acted)},
            problems=(ProblemCode.VALIDATION_FAILED, ProblemCode.COUNT_DIFFERS),
        )
    )
    async def act_on_tasks(self, request: Request) -> HTTPResponse:
        """Cancel or change all tasks of a filter, if they are as many as expected. Each is done by
        itself."""
        try:
            caller = caller_of(request)
            given = parse_document(_decoder, request.body)
            patch, cancellation = _checked(given, caller)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        states, which = _meant(patch)
        user = only_user_of(caller, given.filter.user, "/filter/user")
        tasks = await self._matching(msgspec.structs.replace(given.filter, user=user), states)
        if len(tasks) != given.expect_count:
            raise CountDiffers(
                f"expect_count: {given.expect_count} tasks are expected, {len(tasks)}{which} match"
                " the filter",
                field="expect_count",
            )
        if patch is None:
            acted = await self._cancel_all(tasks, cancellation)
        else:
            acted = await self._patch_all(tasks, patch)
        return HTTPResponse(v2.encode(acted), headers=_HEADERS, content_type=JSON)

    async def _matching(self, given: FilterSpec, states: Sequence[TaskState]) -> list[TaskId]:
        """All of them that are in one of these states."""
        asked = msgspec.structs.asdict(filter_of(given))
        asked["states"] = tuple(each for each in asked["states"] or states if each in states)
        found: list[TaskId] = []
        after = None
        while asked["states"]:
            page = await self.client.list_tasks(ListTasks(**asked, after=after, limit=1000))
            found += [task.id for task in page.tasks]
            if len(found) > LIST_LIMIT_MAX:
                raise TooLarge(
                    f"filter: more than {LIST_LIMIT_MAX} tasks match; narrow it", field="filter"
                )
            after = page.next
            if after is None:
                break
        return found

    async def _cancel_all(
        self, tasks: Sequence[TaskId], cancellation: Cancellation | None
    ) -> v2.Acted:
        async def cancel(task: TaskId) -> str:
            try:
                await self.client.cancel(task, cancellation)
            except AlreadyDone:
                return "already_done"
            return "cancelled"

        return await _each(tasks, cancel)

    async def _patch_all(self, tasks: Sequence[TaskId], patch: Patch) -> v2.Acted:
        # In doubt, all of them.
        claims = dict.fromkeys(tasks, "")

        async def change(task: TaskId) -> str:
            try:
                claims[task] = (await self.client.patch(task, patch)).patch or ""
            except NotWaiting:
                return "not_waiting"
            return "patched"

        acted = await _each(tasks, change)
        if acted.patched or acted.failed:
            await self.client.tell_patched(claims)
        return acted


def _checked(given: ActionSpec, caller: Caller) -> tuple[Patch | None, Cancellation | None]:
    """The change, or else what is said of a cancellation. Raise `Invalid`."""
    faults_of(given.filter).raise_if_any("/filter")
    patch = None if given.patch is None else patch_of(given.patch, "/patch")
    cancellation = cancellation_of(given, caller)
    issues = Issues()
    if given.action is Action.PATCH:
        if patch is None:
            issues.add("/patch", IssueCode.MISSING_FIELD, "what is to be another? as of PATCH")
        for field in ("reason", "by", "grace_s"):
            if getattr(given, field):
                detail = "it is said of a cancellation"
                issues.add(f"/{field}", IssueCode.INVALID_VALUE, detail)
    elif patch is not None:
        issues.add("/patch", IssueCode.INVALID_VALUE, 'it goes with "action": "patch"')
    issues.raise_if_any()
    return patch, cancellation


def _meant(patch: Patch | None) -> tuple[Sequence[TaskState], str]:
    """Of which states tasks are acted on, and how a sentence says that."""
    if patch is None:
        return _OPEN, " that have not ended"
    if patch.of_waiting:
        return (TaskState.QUEUED,), " that wait"
    return tuple(TaskState), ""


async def _each(tasks: Sequence[TaskId], act: Callable[[TaskId], Awaitable[str]]) -> v2.Acted:
    """Some at a time. `act` says under which name each is counted."""
    gate = asyncio.Semaphore(AT_ONCE)
    failures: list[v2.ActFailure] = []
    counts = Counter[str](cancelled=0, already_done=0)

    async def act_on(task: TaskId) -> None:
        async with gate:
            try:
                counts[await act(task)] += 1
            except KhalaError as error:
                failures.append(v2.ActFailure(id=task, detail=error.message))

    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(act_on(task))
    return v2.Acted(
        matched=len(tasks), failed=len(failures), failures=failures[:FAILURES_SHOWN], **counts
    )
