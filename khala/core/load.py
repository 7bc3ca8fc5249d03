"""What the attempts of an executor take up of it, as it counts itself.

A Judicator counts too, but it may not yet know what a lease takes up that another one wrote. So the
executor refuses what it has no room for, and never has to be believed to be right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from khala.model.wants import Amounts
from khala.protocol.executor import Run


class Load:
    """Amounts of attempts that run, and of those that were cancelled and have time to end: these
    are nobody's any more, and take up what they did."""

    def __init__(self) -> None:
        self._of: dict[Run, Amounts] = {}
        self.ending: set[Run] = set()

    def add(self, run: Run, amounts: Amounts) -> None:
        self._of[run] = amounts

    def taken(self, running: Collection[Run]) -> Counter[str]:
        """By those that still run or end; the others are forgotten."""
        self._of = {run: self._of[run] for run in (*running, *self.ending)}
        return self._sum(self._of)

    def ended(self, run: Run) -> bool:
        """Whether it was one of those that end."""
        was = run in self.ending
        self.ending.discard(run)
        return was

    def ending_amounts(self) -> Amounts:
        return dict(self._sum(self.ending))

    def _sum(self, runs: Collection[Run]) -> Counter[str]:
        total: Counter[str] = Counter()
        for run in runs:
            total.update(self._of[run])
        return total
