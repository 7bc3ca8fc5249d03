"""Which tasks a list shows, or an act is for: the same words as parameters and in a document."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from khala.model.cases import Verdict
from khala.model.ids import ExecutorName
from khala.model.limits import LABELS, NAME_CHARS
from khala.model.outcome import Reason
from khala.model.task import TaskState
from khala.protocol.rpc import TaskFilter
from roles.gateway.submission import INTEGER_MAX

#: Fewer digits of an id are hours of submissions.
ID_PREFIX_MIN = 6

IdPrefix: TypeAlias = Annotated[str, Meta(pattern=f"^[0-9a-f]{{{ID_PREFIX_MIN},24}}$")]
NodeName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
LabelPair: TypeAlias = Annotated[str, Meta(pattern=r"^[^=,]{1,63}=[^,]{0,128}$")]


class FilterSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that are given must hold; none of them, every task."""

    user: Annotated[int, Meta(ge=0, le=INTEGER_MAX)] | None = None
    #: Any of these.
    state: tuple[TaskState, ...] = ()
    #: Why it ended; any of these.
    reason: tuple[Reason, ...] = ()
    #: Whether its output was right; any of these.
    verdict: tuple[Verdict, ...] = ()
    #: `key=value`, all of these.
    label: Annotated[tuple[LabelPair, ...], Meta(max_length=LABELS)] = ()
    #: The executor that runs it, or ran it to its end.
    node: NodeName | None = None
    #: A part of its name, in capitals or not.
    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS)] | None = None
    #: The first digits of its id.
    id_prefix: IdPrefix | None = None
    #: Bounds on submission, inclusive.
    created_after: datetime | None = None
    created_before: datetime | None = None
    #: Bounds on its end, inclusive.
    finished_after: datetime | None = None
    finished_before: datetime | None = None


def filter_of(given: FilterSpec) -> TaskFilter:
    """The same for a judicator."""
    return TaskFilter(
        user=given.user,
        states=given.state,
        reasons=given.reason,
        verdicts=given.verdict,
        labels=given.label,
        node=ExecutorName(given.node) if given.node is not None else None,
        name=given.name,
        id_prefix=given.id_prefix,
        created=(given.created_after, given.created_before),
        finished=(given.finished_after, given.finished_before),
    )
