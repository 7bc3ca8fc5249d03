"""`PATCH /api/v2/tasks/ID`: a task that exists, called otherwise, moved in the queue, or held."""

from __future__ import annotations

import re

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Changed, Rejected
from khala.model.ids import parse_task_id
from khala.model.limits import LABELS
from khala.model.task import Task
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.v2 import Issue, IssueCode, ProblemCode
from roles.gateway.cluster import Cluster
from roles.gateway.issues import Invalid
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.ownership import Owned
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.pending import load_pending, tag_of_task, tag_with
from roles.gateway.spec_patch import MERGE_PATCH, PatchSpec, patch_in
from roles.gateway.v2_view import etag_of
from roles.gateway.waiting import answer_task

_TAG = re.compile(r'(?:W/)?"[^"]*"\s*(?:,\s*|\Z)')


class TaskPatches(Struct, frozen=True, kw_only=True):
    """The handler, and what it needs."""

    client: JudicatorClient
    cluster: Cluster

    @declare(
        Operation(
            method="PATCH",
            path="/api/v2/tasks/<task_id:str>",
            owned=Owned.TASK,
            act="task.patch",
            noted=("name", "labels", "priority", "held"),
            tag="Tasks",
            headers=("If-Match",),
            request={JSON: PatchSpec, MERGE_PATCH: PatchSpec},
            answers={200: Answer(v2.Task, headers=("ETag",))},
            problems=(
                ProblemCode.NOT_FOUND,
                ProblemCode.VALIDATION_FAILED,
                ProblemCode.NOT_WAITING,
                ProblemCode.PRECONDITION_FAILED,
            ),
        )
    )
    async def patch_task(self, request: Request, task_id: str) -> HTTPResponse:
        """Change a task: its name, labels and retention at any time; while it waits, also its
        priority, and whether it is held. All of it is done, or nothing."""
        known = parse_task_id(task_id)
        try:
            patch = patch_in(request.body)
            updated_at = None
            if (expected := request.headers.get("if-match")) is not None:
                found = await self.client.get(known)
                if not matches(expected, found):
                    raise Changed(
                        f"If-Match: the tag of task {known} is {etag_of(found)!r} now, without"
                        " what follows from the queue; it has changed",
                        field="If-Match",
                    )
                updated_at = None if expected.strip() == "*" else found.updated_at
            task = await self.client.patch(known, patch, updated_at)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        except Rejected as error:
            if error.field != "/labels":
                raise
            return problem(Failure(status=422, error=_too_many(error)))
        await self.client.tell_patched({known: task.patch or ""})
        pending = await load_pending(self.cluster, task)
        etag = f'"{tag_with(etag_of(task), pending)}"'
        headers = {**NOSNIFF, "Cache-Control": "no-store", "ETag": etag}
        return await answer_task(self.client, task, headers, pending=pending)


def matches(expected: str, task: Task) -> bool:
    """`If-Match` of RFC 9110, for what is stored of a task: what its waiting adds to a tag changes
    with the queue, and is compared with nothing. Raise `Rejected`."""
    tags = tags_in(expected)
    return tags is None or any(tag_of_task(tag) == etag_of(task) for tag in tags)


def tags_in(expected: str) -> list[str] | None:
    """Those of an `If-Match`; None: whatever there is. Raise `Rejected`."""
    given = expected.strip()
    if given == "*":
        return None
    tags = [found.group().rstrip(", \t") for found in _TAG.finditer(given)]
    if not tags or _TAG.sub("", given):
        raise Rejected(
            f'If-Match: the ETag of an answer is expected, "TAG" or *; {given[:80]!r} was given',
            field="If-Match",
        )
    return [tag.strip('"') for tag in tags]


def _too_many(error: Rejected) -> Invalid:
    """Together with those that it has, which only a judicator knows for sure."""
    detail, code = error.message, IssueCode.TOO_MANY
    return Invalid([Issue(pointer="/labels", code=code, detail=detail, limit=LABELS)])
