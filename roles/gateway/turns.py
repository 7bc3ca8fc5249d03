"""When a task that waits is likely to start: a hint, by how its line moved lately.

See `khala.model.pace` for what it is made of. Nothing is said where the line cannot move, or where
something else than its line decides.
"""

from __future__ import annotations

from msgspec.structs import replace

from khala.model.errors import KhalaError
from khala.model.pace import turn_of
from khala.model.task import Task, TaskState
from khala.net.client import JudicatorClient
from khala.protocol.v2 import EstimatedStart, Pending, PendingCode
from roles.gateway.cluster import Cluster, Seen

#: It is its turn that it waits for.
_MOVES = frozenset({PendingCode.NO_SLOT, PendingCode.NO_ROOM, PendingCode.SOON})


def estimate(
    task: Task, pending: Pending | None, ahead: int | None, seen: Seen
) -> EstimatedStart | None:
    """`ahead`: tasks before it in its line; None if nobody knows."""
    if pending is None or pending.code not in _MOVES or ahead is None or task.hold is not None:
        return None
    pace = seen.paces.get(task.spec.shape)
    turn = None if pace is None else turn_of(ahead, pace)
    if turn is None:
        return None
    return EstimatedStart(p50_s=_rounded(turn.p50_s), p90_s=_rounded(turn.p90_s))


async def with_estimate(
    client: JudicatorClient, cluster: Cluster, task: Task, pending: Pending | None
) -> Pending | None:
    """What is said of a task that is read, with its turn if it is near enough to be counted."""
    if pending is None or task.state is not TaskState.QUEUED or pending.code not in _MOVES:
        return pending
    try:
        seen = await cluster.glance()
        if task.spec.shape not in seen.paces:
            return pending
        place = await client.find_ahead(task.id)
    except KhalaError:
        return pending
    return replace(pending, estimated_start=estimate(task, pending, place.ahead, seen))


def say(turn: EstimatedStart) -> str:
    return (
        f"If its line moves on as lately, it starts in about {_words(turn.p50_s)},"
        f" nine times out of ten within {_words(turn.p90_s)}."
    )


def _rounded(seconds: float) -> float:
    """Two digits: it is a guess."""
    return float(f"{max(seconds, 1.0):.2g}")


def _words(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:g} s"
