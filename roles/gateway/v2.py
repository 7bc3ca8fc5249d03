"""The second API, `/api/v2/*`: what the web pages and new clients read.

Answers carry HTTP's own statuses; errors are problem documents (RFC 9457), made by the renderer.
"""

from __future__ import annotations

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.ids import parse_task_id
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.v2 import ProblemCode
from khala.version import VERSION
from roles.gateway.cluster import Cluster
from roles.gateway.hub import Hub
from roles.gateway.operations import Answer, Operation, declare
from roles.gateway.pages import NOSNIFF
from roles.gateway.pending import load_pending, tag_of_task, tag_with
from roles.gateway.queries import read_query
from roles.gateway.turns import with_estimate
from roles.gateway.v2_images import view_images
from roles.gateway.v2_view import etag_of, view_nodes
from roles.gateway.waiting import Change, Wait, answer_task, parse_wait, wait_change, wait_end

_NO_STORE = {**NOSNIFF, "Cache-Control": "no-store"}


class TaskQuery(Struct, frozen=True, kw_only=True):
    #: So long at the most, for the end of the task, or with `since` for any change.
    wait: Wait | None = None
    #: The `ETag` of an earlier answer.
    since: str | None = None


class V2(Struct, frozen=True, kw_only=True):
    """The handlers, and what they answer from."""

    client: JudicatorClient
    cluster: Cluster
    hub: Hub

    @declare(
        Operation(
            method="GET",
            path="/api/v2/tasks/<task_id:str>",
            tag="Tasks",
            query=TaskQuery,
            headers=("If-None-Match",),
            answers={
                200: Answer(v2.Task, headers=("ETag",)),
                304: Answer(content="", headers=("ETag",)),
            },
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def get_task(self, request: Request, task_id: str) -> HTTPResponse:
        """Read a task. `wait` alone waits for the end; with `since` for any change."""
        known = parse_task_id(task_id)
        query = read_query(request, TaskQuery)
        wait_s, since = parse_wait(query.wait), query.since
        if not wait_s:
            task = await self.client.get(known)
        elif since is None:
            task = await wait_end(self.client, self.hub, known, wait_s)
        else:
            change = Change(since=tag_of_task(since.strip('"')), wait_s=wait_s)
            task = await wait_change(self.client, self.hub, known, change)
        pending = await load_pending(self.cluster, task)
        pending = await with_estimate(self.client, self.cluster, task, pending)
        etag = f'"{tag_with(etag_of(task), pending)}"'
        headers = {**NOSNIFF, "Cache-Control": "no-cache", "ETag": etag}
        known_already = request.headers.get("if-none-match") == etag
        if known_already or (since is not None and since.strip('"') == etag.strip('"')):
            return HTTPResponse(None, status=304, headers=headers)
        return await answer_task(self.client, task, headers, pending=pending)

    @declare(
        Operation(
            method="GET", path="/api/v2/nodes", tag="Cluster", answers={200: Answer(v2.Nodes)}
        )
    )
    async def get_nodes(self, _: Request) -> HTTPResponse:
        """List executors and judicators."""
        return _json(view_nodes(await self.cluster.view()))

    @declare(
        Operation(
            method="GET", path="/api/v2/images", tag="Cluster", answers={200: Answer(v2.Images)}
        )
    )
    async def get_images(self, _: Request) -> HTTPResponse:
        """List the root file systems that tasks may name."""
        return _json(view_images(await self.cluster.view()))

    @declare(
        Operation(
            method="GET", path="/api/v2/status", tag="Cluster", answers={200: Answer(v2.Status)}
        )
    )
    async def get_status(self, _: Request) -> HTTPResponse:
        """Sum the cluster up."""
        seen = await self.cluster.view()
        return _json(
            v2.Status(
                version=VERSION,
                ready=seen.serving,
                queued=seen.queued,
                running=seen.leased,
                slots=seen.slots,
                free=seen.free,
                notes=seen.notes,
            )
        )


def _json(body: Struct) -> HTTPResponse:
    return HTTPResponse(v2.encode(body), headers=_NO_STORE, content_type="application/json")
