"""A task in one row: of a list, of an event, of the answer to an act."""

from __future__ import annotations

from khala.model.spec import Member
from khala.model.status import kv2_status
from khala.model.task import TaskBrief
from khala.protocol import v2
from roles.gateway.view_cases import view_score


def place_of(member: Member | None) -> v2.Place | None:
    return None if member is None else v2.Place(id=member.job, index=member.index)


def row_of(brief: TaskBrief) -> v2.Row:
    return v2.Row(
        id=brief.id,
        user=brief.user,
        name=brief.name,
        state=brief.state,
        kv2_status=kv2_status(brief.state, brief.stage, again=brief.again),
        reason=brief.reason,
        executor=brief.executor,
        attempt=brief.attempt,
        created_at=v2.stamp(brief.submitted_at),
        updated_at=v2.stamp(brief.updated_at),
        done=brief.done,
        verdict=brief.verdict,
        score=view_score(brief.score),
        finished_at=v2.stamp(brief.done_at) if brief.done_at else None,
        job=place_of(brief.member),
        cancellation=brief.cancellation,
        held=brief.held,
        priority=brief.priority,
    )
