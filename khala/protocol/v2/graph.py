"""What a job waits for, and what waits for it."""

from __future__ import annotations

from msgspec import Struct

from khala.model.depends import On
from khala.model.ids import TaskId
from khala.protocol.v2.tasks import Place


class GraphNode(Struct, frozen=True, kw_only=True):
    """A task or a job."""

    id: TaskId
    #: "task" or "job".
    kind: str
    #: It is the job that was asked for, or one of its tasks.
    inside: bool
    name: str
    #: As of a task or of a job; null if it is gone.
    state: str | None
    #: Null for a job, and for a task of its own.
    job: Place | None = None


class GraphEdge(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One has to end before the other begins."""

    from_: TaskId
    to: TaskId
    #: `ok`: in success; `any`: in whatever way.
    on: On


class JobGraph(Struct, frozen=True, kw_only=True):
    """A job and what it is tied to, one step in each direction. Its own tasks are in it if
    something outside is tied to them; a job outside is one node, however many of its tasks are."""

    #: The job itself is the first.
    nodes: list[GraphNode]
    #: What waits for it is known as long as it waits.
    edges: list[GraphEdge]
    #: There are others: more than 1000 edges, or more than 50 jobs.
    more: bool
