"""Why an accepted task may not run yet.

A hold is a handful of conditions. Whoever accepts a task writes them down; whoever sees one come
true lifts it, in any order and as often as it likes, and the task joins the queue with the last of
them. What a condition means is known to those two alone, so dispatch needs no word for each.
"""

from __future__ import annotations

from datetime import datetime
from typing import NewType

from msgspec import Struct

#: One condition, such as "after-ok:65f0...": unique per thing that is waited for.
HoldKey = NewType("HoldKey", str)


class Hold(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """At least one of the two; public clients see such a task as queued."""

    #: Not before this date, by the clock of the judicator that looks.
    until: datetime | None = None
    keys: tuple[HoldKey, ...] = ()

    @property
    def open(self) -> bool:
        """Something of it is left."""
        return self.until is not None or bool(self.keys)
