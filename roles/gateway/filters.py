"""Which tasks a list shows, or an act is for: the same words as parameters and in a document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from khala.model.cases import Verdict
from khala.model.errors import Rejected
from khala.model.ids import ExecutorName, JobId
from khala.model.job import members_prefix
from khala.model.limits import LABELS, NAME_CHARS
from khala.model.outcome import Reason
from khala.model.task import TaskState
from khala.protocol.rpc import TaskFilter
from roles.gateway.bounds import told
from roles.gateway.submission import INTEGER_MAX

#: Fewer digits of an id are hours of submissions.
ID_PREFIX_MIN = 6

IdPrefix: TypeAlias = Annotated[str, Meta(pattern=f"^[0-9a-f]{{{ID_PREFIX_MIN},24}}$")]
JobDigits: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{18}0{6}$")]
NodeName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
LabelPair: TypeAlias = Annotated[str, Meta(pattern=r"^[^=,]{1,63}=[^,]{0,128}$")]
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
#: Without a zone it is UTC.
Date: TypeAlias = Annotated[datetime, told(format="date-time")]


class FilterSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that are given must hold; none of them, every task."""

    user: Annotated[int, Meta(ge=0, le=INTEGER_MAX)] | None = None
    #: Any of these.
    state: Annotated[tuple[TaskState, ...], Meta(max_length=len(TaskState))] = ()
    #: Why it ended; any of these.
    reason: Annotated[tuple[Reason, ...], Meta(max_length=len(Reason))] = ()
    #: Whether its output was right; any of these.
    verdict: Annotated[tuple[Verdict, ...], Meta(max_length=len(Verdict))] = ()
    #: `key=value`, all of these.
    label: Annotated[tuple[LabelPair, ...], Meta(max_length=LABELS)] = ()
    #: Whether a person holds it.
    held: bool | None = None
    #: The executor that runs it, or ran it to its end.
    node: NodeName | None = None
    #: A part of its name, in capitals or not.
    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS)] | None = None
    #: The first digits of its id.
    id_prefix: IdPrefix | None = None
    #: Of this job; members that have not begun are not found.
    job: JobDigits | None = None
    #: Bounds on submission, inclusive.
    created_after: Date | None = None
    created_before: Date | None = None
    #: Bounds on its end, inclusive.
    finished_after: Date | None = None
    finished_before: Date | None = None


def filter_of(given: FilterSpec) -> TaskFilter:
    """The same for a judicator."""
    return TaskFilter(
        user=given.user,
        states=given.state,
        reasons=given.reason,
        verdicts=given.verdict,
        labels=given.label,
        held=given.held,
        node=ExecutorName(given.node) if given.node is not None else None,
        name=_name_of(given),
        id_prefix=_prefix_of(given),
        created=(_utc(given.created_after), _utc(given.created_before)),
        finished=(_utc(given.finished_after), _utc(given.finished_before)),
    )


def _name_of(given: FilterSpec) -> str | None:
    """Of what names consist of: the database would not even look for anything else."""
    if given.name is not None and not given.name.isprintable():
        raise Rejected("name: a name has no control characters and no line breaks", field="name")
    return given.name


def _prefix_of(given: FilterSpec) -> str | None:
    """The ids of a job's members begin as its own."""
    if given.job is None:
        return given.id_prefix
    members, prefix = members_prefix(JobId(given.job)), given.id_prefix or ""
    if not members.startswith(prefix) and not prefix.startswith(members):
        raise Rejected(f"id_prefix: no task of job {given.job} begins so", field="id_prefix")
    return max(members, prefix, key=len)


def _utc(moment: datetime | None) -> datetime | None:
    """A zone may put the first and the last day that dates have beyond them: it is that day then,
    which no task is on the other side of."""
    if moment is None or moment.tzinfo is None:
        return moment and moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _FIRST if moment.year == _FIRST.year else _LAST
