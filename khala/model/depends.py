"""Tasks that wait for others: which, and how those have to end.

Each of them is a condition of the task's hold (see `khala.model.holds`). Only what exists can be
named, so nothing ever waits for itself, however long the way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from khala.model.holds import Hold, HoldKey
from khala.model.ids import TaskId


class On(StrEnum):
    """Which end of a predecessor lets a task begin."""

    #: A success; any other end is the end of this task, too.
    OK = "ok"
    ANY = "any"


class Predecessor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task that is waited for, or a job: all of its tasks."""

    id: TaskId
    on: On = On.OK

    @property
    def key(self) -> HoldKey:
        return HoldKey(f"after-{self.on}:{self.id}")


#: Keys of other conditions are not below it, in the order of characters.
KEYS_BELOW = HoldKey("after.")
_KEY = re.compile(r"after-(ok|any):([0-9a-f]{24})\Z")


def predecessor_of(key: HoldKey) -> Predecessor | None:
    """None for a condition of another kind."""
    found = _KEY.match(key)
    return None if found is None else Predecessor(id=TaskId(found[2]), on=On(found[1]))


def keys_of(task: TaskId) -> list[HoldKey]:
    """What is held until this one has ended is held by one of these."""
    return [Predecessor(id=task, on=on).key for on in On]


def hold_of(predecessors: Sequence[Predecessor]) -> Hold | None:
    """Of a new task; whether they have ended already is looked at afterwards, so that none can end
    unseen in between."""
    return Hold(keys=tuple(each.key for each in predecessors)) if predecessors else None
