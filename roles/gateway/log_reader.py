"""Reading a log from some place on, and waiting for more of it.

Nothing is kept for a reader: each one is given the next piece when it has taken the last, and the
store is the buffer. So a reader that is slow, or has stopped, costs the others nothing and misses
nothing, and a reader that comes back goes on at any gateway.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from khala.model.errors import Rejected
from khala.model.ids import AttemptNo, TaskId
from khala.model.limits import EVENT_HEARTBEAT_S, LOG_REREAD_S
from khala.model.live import Channel, Section
from khala.model.outcome import Reason
from khala.model.spec import Stage
from khala.model.task import TaskState
from khala.net.client import JudicatorClient
from khala.protocol.rpc import LogView, ReadLog
from roles.gateway.hub import Hub
from roles.gateway.log_place import LogPlace


class LogQuery(Struct, frozen=True, kw_only=True):
    """What is wanted of a log."""

    #: In the order in which they run; never empty.
    sections: tuple[Section, ...]
    channels: tuple[Channel, ...]
    #: None: the newest, and the one after it if that is lost.
    attempt: AttemptNo | None = None
    follow: bool = False


class Written(Struct, frozen=True, kw_only=True):
    """Bytes that follow all that was read before."""

    attempt: AttemptNo
    section: Section
    channel: Channel
    offset: int
    data: bytes
    at: datetime | None


class Missing(Struct, frozen=True, kw_only=True):
    """Bytes that were not kept."""

    attempt: AttemptNo
    section: Section
    channel: Channel
    offset: int
    end: int


class Begun(Struct, frozen=True, kw_only=True):
    """The attempt before was not the last; from here on it is this one."""

    attempt: AttemptNo
    section: Section


class Over(Struct, frozen=True, kw_only=True):
    """There is no more."""

    attempt: AttemptNo
    state: TaskState
    reason: Reason | None
    exit_code: int | None


Item: TypeAlias = Written | Missing | Begun | Over


_EXECUTE = Section(Stage.EXECUTE)


def with_cases(sections: Sequence[Section], count: int) -> tuple[Section, ...]:
    """The same of a task that has so many cases."""
    if not count or _EXECUTE not in sections:
        return tuple(sections)
    cases = (Section(Stage.EXECUTE, number) for number in range(1, count + 1))
    return (*(each for each in sections if each != _EXECUTE), *cases)


class LogReader:
    """Reads one log for one reader."""

    def __init__(
        self, client: JudicatorClient, task: TaskId, query: LogQuery, place: LogPlace
    ) -> None:
        self._client = client
        self._task = task
        self._query = query
        self.over = False
        if place.section not in query.sections and not self._may_be_of(place.section):
            later = [each for each in query.sections if each > place.section]
            section = later[0] if later else query.sections[-1]
            place = LogPlace(attempt=place.attempt, section=section)
        self._place = place

    @property
    def place(self) -> LogPlace:
        """Up to where it was read."""
        return self._place

    async def read(self) -> list[Item]:
        """What follows; nothing if that is not there yet, or `over`."""
        items: list[Item] = []
        while not items and not self.over:
            place = self._place
            view = await self._client.read_log(
                self._task,
                ReadLog(
                    attempt=place.attempt or self._query.attempt,
                    section=place.section,
                    offsets={each: place.offset(each) for each in self._query.channels},
                ),
            )
            self._place = replace(place, attempt=view.attempt)
            if self._learn_cases(view.cases):
                continue
            self._take(view, items)
            if not view.complete or not self._turn(view, items):
                break
        return items

    async def follow(self, hub: Hub) -> AsyncGenerator[list[Item], None]:
        """Items as they come, until the log is over or the gateway stops; now and then none, to
        show that both ends are there."""
        with hub.watch(self._task, ends_only=False, log=True) as watch:
            said_at = time.monotonic()
            while True:
                items = await self.read()
                if items or time.monotonic() - said_at >= EVENT_HEARTBEAT_S:
                    yield items
                    said_at = time.monotonic()
                if self.over or hub.stopping:
                    return
                if not items:
                    left_s = said_at + EVENT_HEARTBEAT_S - time.monotonic()
                    await watch.wait(max(0.0, min(LOG_REREAD_S, left_s)))

    def _may_be_of(self, section: Section) -> bool:
        """A case, of a task that may have some."""
        return section.case > 0 and _EXECUTE in self._query.sections

    def _learn_cases(self, count: int) -> bool:
        """The execute stage of a task with cases is all of them; false if that is known, or it has
        none."""
        if not count or _EXECUTE not in self._query.sections:
            return False
        sections = with_cases(self._query.sections, count)
        self._query = replace(self._query, sections=sections)
        if self._place.section != _EXECUTE:
            return False
        if self._place.stdout or self._place.stderr:
            raise Rejected(
                f"case: the execute stage of task {self._task} is {count} cases; say with case=1 to"
                f" {count} whose bytes are counted",
                field="case",
            )
        self._place = LogPlace(attempt=self._place.attempt, section=Section(Stage.EXECUTE, 1))
        return True

    def _take(self, view: LogView, items: list[Item]) -> None:
        for piece in view.pieces:
            self._skip_to(piece.channel, piece.offset, items)
            items.append(
                Written(
                    attempt=self._place.attempt,
                    section=self._place.section,
                    channel=piece.channel,
                    offset=piece.offset,
                    data=piece.data,
                    at=piece.at,
                )
            )
            self._place = self._place.moved(piece.channel, piece.end)
        if view.complete:
            for channel, end in view.ends.items():
                self._skip_to(channel, end, items)

    def _skip_to(self, channel: Channel, offset: int, items: list[Item]) -> None:
        at = self._place.offset(channel)
        if offset > at:
            items.append(
                Missing(
                    attempt=self._place.attempt,
                    section=self._place.section,
                    channel=channel,
                    offset=at,
                    end=offset,
                )
            )
            self._place = self._place.moved(channel, offset)

    def _turn(self, view: LogView, items: list[Item]) -> bool:
        """The section is read as a whole: on to the next one, the next attempt, or the end. False
        if there is going to be another attempt, which has not begun."""
        attempt, sections = view.attempt, self._query.sections
        later = sections[sections.index(self._place.section) + 1 :]
        if later:
            self._place = LogPlace(attempt=attempt, section=later[0])
        elif self._query.attempt is None and view.newest > attempt:
            self._place = LogPlace(attempt=view.newest, section=sections[0])
            items.append(Begun(attempt=view.newest, section=sections[0]))
        elif self._query.attempt is None and view.state is TaskState.QUEUED:
            return False
        else:
            self.over = True
            items.append(
                Over(
                    attempt=attempt,
                    state=view.state,
                    reason=view.reason,
                    exit_code=view.exit_code,
                )
            )
        return True
