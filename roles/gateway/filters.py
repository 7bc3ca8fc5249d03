"""Which tasks a list shows, or an act is for: the same words as parameters and in a document."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, TypeAlias, TypeVar

from msgspec import Meta, Struct

from khala.model.cases import Verdict
from khala.model.errors import Rejected
from khala.model.ids import ExecutorName, JobId
from khala.model.job import members_prefix
from khala.model.limits import ID_PREFIX_MIN, LABELS, NAME_CHARS, SEARCH_CHARS, SEARCH_WORDS
from khala.model.outcome import Reason
from khala.model.task import TaskState
from khala.protocol.rpc import TaskFilter
from khala.protocol.v2 import IssueCode
from roles.gateway.bounds import told
from roles.gateway.issues import Issues
from roles.gateway.submission import INTEGER_MAX

IdPrefix: TypeAlias = Annotated[str, Meta(pattern=f"^[0-9a-f]{{{ID_PREFIX_MIN},24}}$")]
JobDigits: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{18}0{6}$")]
NodeName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
LabelPair: TypeAlias = Annotated[str, Meta(pattern=r"^[^=,]{1,63}=[^,]{0,128}$")]
Word = TypeVar("Word")
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
#: Without a zone it is UTC.
Date: TypeAlias = Annotated[datetime, told(format="date-time")]


class FilterSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that are given must hold; none of them, every task."""

    #: Words with blanks between them. Each is a part of its name, in capitals or not, begins its
    #: id (6 digits or more; a job's whole id: its members), or is one of its labels, as
    #: `key=value`.
    q: Annotated[str, Meta(min_length=1, max_length=SEARCH_CHARS)] | None = None
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
    """The same for a judicator. Raise `Rejected` naming the parameter."""
    for fault in faults_of(given).found:
        name = fault.pointer[1:]
        raise Rejected(f"{name}: {fault.detail}", field=name)
    return TaskFilter(
        user=given.user,
        states=_once(given.state),
        reasons=_once(given.reason),
        verdicts=_once(given.verdict),
        labels=_once(given.label),
        held=given.held,
        node=ExecutorName(given.node) if given.node is not None else None,
        name=given.name,
        id_prefix=_prefix_of(given),
        words=_once((given.q or "").split()),
        created=(_utc(given.created_after), _utc(given.created_before)),
        finished=(_utc(given.finished_after), _utc(given.finished_before)),
    )


def _once(each: Iterable[Word]) -> tuple[Word, ...]:
    """An index that is walked twice shows each of its tasks twice."""
    return tuple(dict.fromkeys(each))


def faults_of(given: FilterSpec) -> Issues:
    """What its types do not say. The database would not even look for a name that none can be."""
    issues = Issues()
    if given.q is not None:
        _check_words(given.q, issues)
    for field in ("node", "id_prefix", "job"):
        # The `$` of a pattern does not mind one.
        if (getattr(given, field) or "").endswith("\n"):
            issues.add(f"/{field}", IssueCode.INVALID_VALUE, "there is a line break behind it")
    if given.name is not None and not given.name.isprintable():
        detail = "a name has no control characters and no line breaks"
        issues.add("/name", IssueCode.INVALID_VALUE, detail, given=given.name)
    if given.job is not None:
        members, prefix = members_prefix(JobId(given.job)), given.id_prefix or ""
        if not members.startswith(prefix) and not prefix.startswith(members):
            detail = f"no task of job {given.job} begins so"
            issues.add("/id_prefix", IssueCode.INVALID_VALUE, detail, given=prefix)
    return issues


def _check_words(text: str, issues: Issues) -> None:
    words = text.split()
    if not text.isprintable():
        detail = "neither names nor ids nor labels have control characters or line breaks"
        issues.add("/q", IssueCode.INVALID_VALUE, f"{detail}; leave them out", given=text)
    elif not words:
        detail = "it is blank; write a part of a name, an id or key=value, or leave it out"
        issues.add("/q", IssueCode.INVALID_VALUE, detail, given=text)
    elif len(words) > SEARCH_WORDS:
        detail = f"{len(words)} words are more than the maximum of {SEARCH_WORDS}; leave some out"
        issues.add("/q", IssueCode.TOO_MANY, detail, limit=SEARCH_WORDS, given=len(words))


def _prefix_of(given: FilterSpec) -> str | None:
    """The ids of a job's members begin as its own."""
    if given.job is None:
        return given.id_prefix
    return max(members_prefix(JobId(given.job)), given.id_prefix or "", key=len)


def _utc(moment: datetime | None) -> datetime | None:
    """A zone may put the first and the last day that dates have beyond them: it is that day then,
    which no task is on the other side of."""
    if moment is None or moment.tzinfo is None:
        return moment and moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _FIRST if moment.year == _FIRST.year else _LAST
