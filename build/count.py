"""Print `passed failed skipped` of one report that pytest wrote, for the last line of build/test.

Fails if there is no whole report: then pytest itself broke, and silence must not look like success.
"""

from __future__ import annotations

import sys
from xml.etree import ElementTree


def count(report: str) -> tuple[int, int, int]:
    """Count the tests of the JUnit file `report`: (passed, failed, skipped)."""
    failed = skipped = total = 0
    for case in ElementTree.parse(report).iter("testcase"):
        outcomes = {part.tag for part in case}
        total += 1
        failed += bool(outcomes & {"failure", "error"})
        skipped += "skipped" in outcomes and not outcomes & {"failure", "error"}
    return total - failed - skipped, failed, skipped


if __name__ == "__main__":
    try:
        print(*count(sys.argv[1]))
    except (OSError, ElementTree.ParseError) as error:
        sys.exit(f"no test is counted, pytest left no whole report: {error}")
