"""Judge a recorded history again: `python -m tests.checker FILE [STALE_S WASTE_S SETTLE_S]`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.checker.claims import Bounds, judge, submit_gaps
from tests.checker.history import History


def main(path: str, *bounds: str) -> int:
    history = History.load(Path(path))
    stale_s, waste_s, settle_s = map(float, (*bounds, *("0", "0", "60")[len(bounds) :]))
    breaches = judge(history, Bounds(stale_s=stale_s, waste_s=waste_s, settle_s=settle_s))
    for name, gap in submit_gaps(history).items():
        sys.stdout.write(f"{name}: {gap:.2f} s without an accepted submission\n")
    for breach in breaches:
        sys.stdout.write(f"{breach}\n")
    sys.stdout.write(f"{len(history.events)} events, {len(breaches)} breaches\n")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
