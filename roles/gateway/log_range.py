"""How much is kept of one output, and which part of it is asked for.

The bytes of a download are those that are kept, one behind the other; a place in a log counts what
was written. They differ behind a gap.
"""

from __future__ import annotations

from msgspec import Struct

from khala.model.ids import AttemptNo, TaskId
from khala.model.live import Kept, kept_of, require_section
from khala.net.client import JudicatorClient
from khala.protocol.rpc import ReadLog
from roles.gateway.log_reader import LogQuery, with_cases


class Extent(Struct, frozen=True, kw_only=True):
    attempt: AttemptNo
    kept: Kept
    #: It will not grow.
    final: bool

    @property
    def size_bytes(self) -> int:
        return self.kept.size_bytes

    def position_of(self, offset: int) -> int:
        """How many of the kept bytes were written before `offset`."""
        return min(self.kept.find(offset).position, self.size_bytes)

    def offset_of(self, position: int) -> int:
        """Where the kept byte at `position` was written."""
        cut = self.kept.cut
        if cut is None or position < cut.gap_at:
            return position
        return self.kept.end - (self.size_bytes - position)


async def find_extent(client: JudicatorClient, known: TaskId, query: LogQuery) -> Extent | None:
    """Of the one output that is asked for, as it is now. None if there are several after all,
    because the task has cases."""
    (section,), (channel,) = query.sections, query.channels
    task = await client.get(known)
    require_section(task.spec, section)
    if with_cases(query.sections, len(task.spec.cases)) != query.sections:
        return None
    recorded = task.result_attempt
    if task.outcome is not None and recorded is not None and query.attempt in (None, recorded):
        kept = kept_of(task.outcome, section, channel)
        return Extent(attempt=recorded, kept=kept, final=True)
    back = ReadLog(attempt=query.attempt, section=section, offsets={channel: 0}, back_bytes=1)
    view = await client.read_log(known, back)
    end = view.ends.get(channel, view.pieces[-1].end if view.pieces else 0)
    return Extent(attempt=view.attempt, kept=Kept(end), final=view.complete)
