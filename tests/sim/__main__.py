"""Long runs: `python -m tests.sim FIRST LAST [MUTATION]`."""

from __future__ import annotations

import sys
import time
from collections import Counter

import pytest

from tests.sim.history import Violation
from tests.sim.mutations import MUTATIONS
from tests.sim.simulation import simulate


def main(first: int, last: int, mutation: str | None = None) -> int:
    totals: Counter[str] = Counter()
    caught: list[str] = []
    since = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        if mutation is not None:
            MUTATIONS[mutation].apply(patch)
        for seed in range(first, last):
            try:
                totals.update(simulate(seed).counts)
            except Violation as violation:
                caught.append(f"seed {seed}: {str(violation)[:600]}")
    elapsed = time.monotonic() - since
    lines = [f"{last - first} seeds, {len(caught)} violations, {elapsed:.0f} s", *caught[:5]]
    lines += [f"{count:9d} {name}" for name, count in sorted(totals.items())]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if caught else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main(int(arguments[0]), int(arguments[1]), *arguments[2:3]))
