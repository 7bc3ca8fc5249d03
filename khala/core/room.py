"""Which session has the most room: one index for all sessions, and one for those of each image.

Every task asks, every result changes the answer; with a thousand executors a walk over all of them
for each would cost more than everything else. A task that needs an image asks the index of its
image, so that few executors with it among many without cost no more than if there were no others.
"""

from __future__ import annotations

from collections.abc import Collection

from khala.core.session import Session
from khala.model.ids import ExecutorName
from khala.model.spec import TaskSpec


class Room:
    """Sessions by their number of free slots; `note` after each change of one."""

    def __init__(self) -> None:
        #: Sessions by their number of free slots, in the order they got there.
        self._levels: dict[int, dict[ExecutorName, Session]] = {}
        self._level_of: dict[ExecutorName, int] = {}
        #: Sessions without a free slot that take an attempt ahead, in the order they got there.
        self._ahead: dict[ExecutorName, Session] = {}
        #: No level above this one has a session.
        self._top = 0
        #: Free slots of all sessions.
        self.free = 0

    def __len__(self) -> int:
        return len(self._level_of)

    def roomiest(self, but_not: Collection[ExecutorName]) -> Session | None:
        """The session with the most free slots, so that load spreads over hosts; those that
        have waited longest first. If nothing is free, one that takes an attempt ahead, or None."""
        while self._top > 0 and not self._levels.get(self._top):
            self._top -= 1
        for level in range(self._top, 0, -1):
            for name, session in self._levels.get(level, {}).items():
                if name not in but_not:
                    return session
        for name, session in self._ahead.items():
            if name not in but_not:
                return session
        return None

    def fitting(self, spec: TaskSpec, but_not: Collection[ExecutorName]) -> Session | None:
        """Of those with a free slot and with what the task needs, the roomiest that it prefers,
        or the roomiest. A walk over all with free slots, at worst: the caller remembers that
        there was none until something becomes free."""
        second = None
        for level in range(self._top, 0, -1):
            for name, session in self._levels.get(level, {}).items():
                if name in but_not or not session.suits(spec) or not session.fits(spec.wants):
                    continue
                if spec.wants.preferred_at(session.labels):
                    return session
                second = second or session
        return second

    def note(self, session: Session) -> None:
        """Put it on the level of its free slots."""
        free = session.free
        if free == 0 and session.takes_ahead:
            self._ahead.setdefault(session.name, session)
        else:
            self._ahead.pop(session.name, None)
        level = self._level_of.get(session.name)
        if level == free:
            return
        if level is not None:
            del self._levels[level][session.name]
        self.free += free - (level or 0)
        self._level_of[session.name] = free
        self._levels.setdefault(free, {})[session.name] = session
        self._top = max(self._top, free)

    def remove(self, session: Session) -> None:
        level = self._level_of.pop(session.name)
        del self._levels[level][session.name]
        self._ahead.pop(session.name, None)
        self.free -= level
