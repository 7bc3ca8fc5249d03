"""What a job waits for and what waits for it, one step in each direction.

Tasks of one job never wait for each other: only what exists can be named. So a job's graph is the
job, those of its tasks that something outside is tied to, and that. Jobs outside are one node each,
however many of their tasks are tied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.depends import Predecessor
from khala.model.errors import NotFound
from khala.model.ids import JobId, TaskId
from khala.model.job import Job, is_job_id, member_id, place_of, state_of, unmade
from khala.model.limits import GRAPH_EDGES, GRAPH_JOBS
from khala.net.httpd import Routes
from khala.protocol.graph import GraphEdge, GraphNode, JobGraph
from khala.store.successors import MongoSuccessors, Successor
from roles.judicator.answers import answer
from roles.judicator.job_routes import parse_job_id
from roles.judicator.jobs import Jobs


class GraphRoutes:
    def __init__(self, jobs: Jobs, successors: MongoSuccessors) -> None:
        self._jobs = jobs
        self._successors = successors

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/rpc/v1/jobs/<job_id:str>/graph", self.show)

    async def show(self, _: Request, job_id: str) -> HTTPResponse:
        job = (await self._jobs.view(parse_job_id(job_id))).job
        edges = _Edges()
        edges.add(await self._before(job))
        edges.add(_behind(await self._successors.find(job.id, GRAPH_EDGES + 1)))
        nodes = await self._nodes(job, edges)
        known = {node.id for node in nodes}
        kept = [edge for edge in edges.found if known.issuperset((edge.before, edge.after))]
        more = edges.more or len(kept) < len(edges.found)
        return answer(JobGraph(nodes=nodes, edges=kept, more=more))

    async def _before(self, job: Job) -> list[GraphEdge]:
        """An array waits as one; of a list, each task for what it names."""
        if job.spec.task is not None:
            return [_edge(each, TaskId(job.id)) for each in job.spec.task.depends_on]
        specs = await self._jobs.stores.members.specs_of(job, 1, job.size)
        return [
            _edge(each, member_id(job.id, position))
            for position, spec in enumerate(specs, 1)
            for each in spec.depends_on
        ]

    async def _nodes(self, job: Job, edges: _Edges) -> list[GraphNode]:
        ids = dict.fromkeys([TaskId(job.id), *edges.ends])
        jobs = [JobId(each) for each in ids if is_job_id(each)][: GRAPH_JOBS + 1]
        nodes = [await self._job_node(each) for each in jobs]
        tasks = [each for each in ids if not is_job_id(each)]
        briefs = {each.id: each for each in await self._jobs.stores.tasks.load_briefs(tasks)}
        for task in tasks:
            brief = briefs.get(task)
            node = GraphNode(id=task, inside=place_of(task)[0] == job.id)
            if brief is not None:
                node = replace(node, name=brief.name, state=brief.state, member=brief.member)
            elif node.inside:
                node = await self._unmade_node(job, node)
            nodes.append(node)
        return nodes

    async def _job_node(self, job: JobId) -> GraphNode:
        node = GraphNode(id=TaskId(job), job=True)
        try:
            seen = await self._jobs.view(job)
        except NotFound:
            return node
        return replace(node, name=seen.job.spec.name, state=state_of(seen.counts))

    async def _unmade_node(self, job: Job, node: GraphNode) -> GraphNode:
        """It waits for its turn, or never will have one."""
        _, position = place_of(node.id)
        task = unmade(job, await self._jobs.stores.members.spec_of(job, position), position)
        return replace(node, name=task.spec.name, state=task.state, member=task.spec.member)


@dataclass(slots=True)
class _Edges:
    """Each once, up to a number."""

    found: dict[GraphEdge, None] = field(default_factory=dict)
    more: bool = False

    def add(self, edges: Iterable[GraphEdge]) -> None:
        for edge in edges:
            if len(self.found) >= GRAPH_EDGES and edge not in self.found:
                self.more = True
                return
            self.found[edge] = None

    @property
    def ends(self) -> list[TaskId]:
        return [end for edge in self.found for end in (edge.before, edge.after)]


def _behind(found: Iterable[Successor]) -> Iterable[GraphEdge]:
    for each in found:
        after = TaskId(each.member.job) if each.member is not None else each.id
        for waited_for in each.waits_for:
            yield _edge(waited_for, after)


def _edge(waited_for: Predecessor, after: TaskId) -> GraphEdge:
    return GraphEdge(before=waited_for.id, after=after, on=waited_for.on)
