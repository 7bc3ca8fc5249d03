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
    """Amounts of running attempts."""

    def __init__(self) -> None:
        self._of: dict[Run, Amounts] = {}

    def add(self, run: Run, amounts: Amounts) -> None:
        self._of[run] = amounts

    def taken(self, running: Collection[Run]) -> Counter[str]:
        """By those that still run; the others are forgotten."""
        self._of = {run: self._of[run] for run in running}
        total: Counter[str] = Counter()
        for amounts in self._of.values():
            total.update(amounts)
        return total
