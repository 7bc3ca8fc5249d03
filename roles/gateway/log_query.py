"""From the parameters of `/logs` to what is wanted of a log."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from khala.model.errors import Rejected
from khala.model.ids import AttemptNo
from khala.model.live import Channel, Section
from khala.model.spec import Stage
from khala.protocol.v2 import StageWord
from roles.gateway.log_place import LogPlace, parse_place
from roles.gateway.log_reader import LogQuery

#: What every client counts exactly.
_NUMBER_MAX = 2**53 - 1
TAIL_LINES_MAX = 10_000


class LogsQuery(Struct, frozen=True, kw_only=True):
    #: Counts from 1. By default the newest, and the one after it if that is lost.
    attempt: Annotated[int, Meta(ge=1, le=999_999_999)] | None = None
    #: Any of these.
    stage: tuple[StageWord, ...] = ()
    #: Any of these.
    stream: tuple[Channel, ...] = ()
    #: Counts from 1.
    case: Annotated[int, Meta(ge=1, le=999_999)] | None = None
    #: Begin with this byte of all that was written; needs one stage and one stream.
    offset: Annotated[int, Meta(ge=0, le=_NUMBER_MAX)] | None = None
    #: So many bytes at the most.
    limit: Annotated[int, Meta(ge=1, le=_NUMBER_MAX)] | None = None
    #: Begin so many lines before the end of each stream, as far as 256 KiB have them.
    tail: Annotated[int, Meta(ge=0, le=TAIL_LINES_MAX)] | None = None
    #: Go on until the task has ended.
    follow: bool = False
    #: Plain text: put the time before each line.
    timestamps: bool = False
    #: Begin behind the record with this `id`; the header `Last-Event-ID` says the same.
    after: str | None = None


class LogRequest(Struct, frozen=True, kw_only=True):
    """What one reader asks for."""

    query: LogQuery
    place: LogPlace
    #: Bytes of the log; None: all.
    limit: int | None
    #: Begin so many lines before the end.
    tail: int | None
    timestamps: bool

    @property
    def single(self) -> bool:
        """One output of one program: its bytes can be counted."""
        return len(self.query.sections) == 1 and len(self.query.channels) == 1


def log_request_of(given: LogsQuery, last_event_id: str | None) -> LogRequest:
    """Raise `Rejected` for parameters that do not go together."""
    query = LogQuery(
        sections=_sections(given),
        channels=tuple(each for each in Channel if each in (given.stream or tuple(Channel))),
        attempt=AttemptNo(given.attempt) if given.attempt else None,
        follow=given.follow,
    )
    place = LogPlace(section=query.sections[0])
    resumed = True
    if last_event_id:
        place = parse_place(last_event_id, "Last-Event-ID")
    elif given.after is not None:
        place = parse_place(given.after, "after")
    elif given.offset:
        if len(query.sections) != 1 or len(query.channels) != 1:
            raise Rejected(
                "offset: needs one stage and one stream, whose bytes it counts; give both, or"
                " after=ID of a record",
                field="offset",
            )
        place = place.moved(query.channels[0], given.offset)
    else:
        resumed = False
    return LogRequest(
        query=query,
        place=place,
        limit=given.limit,
        tail=None if resumed else given.tail,
        timestamps=given.timestamps,
    )


def _sections(given: LogsQuery) -> tuple[Section, ...]:
    if given.case is None:
        return tuple(Section(each) for each in Stage if each in (given.stage or tuple(Stage)))
    if given.stage not in ((), (Stage.EXECUTE,)):
        raise Rejected("case: only the stage execute has cases", field="case")
    return (Section(Stage.EXECUTE, given.case),)
