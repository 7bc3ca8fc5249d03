"""The graph of a job in words."""

from __future__ import annotations

from khala.model.depends import On
from khala.model.ids import JobId, TaskId
from khala.protocol.v2 import GraphEdge, GraphNode, JobGraph, Place
from roles.client.graph import lines_of

JOB = TaskId("6b04d4787d852fb9eb000000")
MEMBER, GONE, AFTER = (TaskId(f"6b04d4787d852fb9eb00000{n}") for n in (7, 8, 9))
SWEEP = GraphNode(id=JOB, kind="job", inside=True, name="sw\x1b[31m", state="running")


def test_a_job_that_is_tied_to_nothing_says_so() -> None:
    lines = list(lines_of(JobGraph(nodes=[SWEEP], edges=[], more=False)))
    assert lines == [
        f"job {JOB}  sw\N{REPLACEMENT CHARACTER}[31m  running",
        "it waits for nothing, and nothing waits for it",
    ]


def test_each_edge_is_a_line_that_names_what_is_outside() -> None:
    place = Place(id=JobId(JOB), index=3)
    graph = JobGraph(
        nodes=[
            SWEEP,
            GraphNode(id=MEMBER, kind="task", inside=True, name="", state="queued", job=place),
            GraphNode(id=GONE, kind="task", inside=False, name="", state=None),
            GraphNode(id=AFTER, kind="job", inside=False, name="more", state="queued"),
        ],
        edges=[
            GraphEdge(from_=GONE, to=MEMBER, on=On.OK),
            GraphEdge(from_=GONE, to=JOB, on=On.OK),
            GraphEdge(from_=JOB, to=AFTER, on=On.ANY),
            GraphEdge(from_=MEMBER, to=AFTER, on=On.OK),
        ],
        more=True,
    )
    assert list(lines_of(graph))[1:] == [
        "waits for",
        f"  task {GONE}  gone  (for index 3)",
        f"  task {GONE}  gone",
        "is waited for by",
        f"  job {AFTER}  more  queued  whatever its end",
        f"  job {AFTER}  more  queued  (waits for index 3)",
        "and more",
    ]
