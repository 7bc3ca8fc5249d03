"""Which of the ended tasks go: a decision on numbers, without a clock or a store.

The oldest go first, and only while a bound is exceeded. The bounds are one date (of age and count
together) and a number of bytes that counts down, so one look at each in the order of their ends is
all it takes, and whoever looks may stop anywhere and begin again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from khala.model.retention import Ended, Forgotten


@dataclass(slots=True, kw_only=True)
class Selection:
    """Asked of everything that has ended, oldest first."""

    #: What ended before this goes; None: nothing goes for its date.
    before: datetime | None
    #: So much goes, whatever its date.
    excess_bytes: int = 0
    found: Forgotten = field(default_factory=Forgotten)

    def exceeds(self, each: Ended) -> bool:
        """Some bound does not allow it. If it is allowed, all that ended later is."""
        aged = self.before is not None and each.ended_at < self.before
        return aged or self.excess_bytes > 0

    def takes(self, each: Ended, *, own: bool = False) -> bool:
        """Of what exceeds a bound, or `own`, its own one: it goes, and is counted; or it is
        needed."""
        known = self.found
        if each.needed:
            self.found = replace(known, needed=known.needed + each.tasks)
            return False
        self.excess_bytes -= each.size_bytes
        self.found = replace(
            known,
            tasks=known.tasks + each.tasks,
            jobs=known.jobs + each.job,
            size_bytes=known.size_bytes + each.size_bytes,
            own=known.own + (each.tasks if own else 0),
            oldest=min(known.oldest or each.ended_at, each.ended_at),
            newest=max(known.newest or each.ended_at, each.ended_at),
        )
        return True
