"""Why an accepted task may not run yet.

A hold is a handful of conditions. Whoever accepts a task writes them down; whoever sees one come
true lifts it, in any order and as often as it likes, and the task joins the queue with the last of
them. What a condition means is known to those two alone, so dispatch needs no word for each.
"""

from __future__ import annotations

from datetime import datetime
from typing import NewType

from msgspec import Struct
from msgspec.structs import replace

#: One condition, such as "after-ok:65f0...": unique per thing that is waited for.
HoldKey = NewType("HoldKey", str)

#: A person holds it: it comes true when a person says so.
RELEASE = HoldKey("release")


class Hold(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """At least one of the two; public clients see such a task as queued."""

    #: Not before this date, by the clock of the judicator that looks.
    until: datetime | None = None
    keys: tuple[HoldKey, ...] = ()

    @property
    def open(self) -> bool:
        """Something of it is left."""
        return self.until is not None or bool(self.keys)

    def without(self, key: HoldKey) -> Hold:
        return replace(self, keys=tuple(each for each in self.keys if each != key))


def held_by(hold: Hold | None, key: HoldKey) -> Hold:
    """The same, by that condition too."""
    return Hold(keys=(key,)) if hold is None else replace(hold, keys=(*hold.without(key).keys, key))
