"""What a job waits for and what waits for it, between gateways and judicators.

GET /rpc/v1/jobs/<id>/graph  -> JobGraph
"""

from __future__ import annotations

from msgspec import Struct

from khala.model.depends import On
from khala.model.ids import TaskId
from khala.model.spec import Member


class GraphNode(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task or a job."""

    id: TaskId
    job: bool = False
    #: One of the job's own tasks.
    inside: bool = False
    name: str = ""
    #: None: it is gone.
    state: str | None = None
    #: None for a job, and for a task of its own.
    member: Member | None = None


class GraphEdge(Struct, frozen=True, kw_only=True, omit_defaults=True):
    before: TaskId
    after: TaskId
    #: Which end of the one lets the other begin.
    on: On = On.OK


class JobGraph(Struct, frozen=True, kw_only=True):
    #: The job itself is the first.
    nodes: list[GraphNode]
    edges: list[GraphEdge]
    #: There are others.
    more: bool
