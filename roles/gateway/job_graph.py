"""`GET /api/v2/jobs/ID/graph`: what a job waits for, and what waits for it."""

from __future__ import annotations

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.ids import JobId, TaskId
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.graph import GraphNode, JobGraph
from khala.protocol.v2 import ProblemCode
from roles.gateway.jobs import JOB
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.ownership import parse_job_id
from roles.gateway.pages import NOSNIFF
from roles.gateway.rows import place_of


class JobGraphs(Struct, frozen=True, kw_only=True):
    """The handler, and what it answers from."""

    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path=f"{JOB}/graph",
            tag="Jobs",
            answers={200: Answer(v2.JobGraph)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def get_job_graph(self, _: Request, job_id: str) -> HTTPResponse:
        """Show what a job waits for and what waits for it, one step in each direction."""
        job = parse_job_id(job_id, "id")
        body = v2.encode(_view(await self.client.get_graph(job), job))
        headers = {**NOSNIFF, "Cache-Control": "no-store"}
        return HTTPResponse(body, headers=headers, content_type=JSON)


def _view(seen: JobGraph, job: JobId) -> v2.JobGraph:
    return v2.JobGraph(
        nodes=[_node(node, job) for node in seen.nodes],
        edges=[v2.GraphEdge(from_=each.before, to=each.after, on=each.on) for each in seen.edges],
        more=seen.more,
    )


def _node(node: GraphNode, job: JobId) -> v2.GraphNode:
    return v2.GraphNode(
        id=node.id,
        kind="job" if node.job else "task",
        inside=node.inside or node.id == TaskId(job),
        name=node.name,
        state=node.state,
        job=place_of(node.member),
    )
