"""The header `Range`, for everything that can be read in parts."""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})\Z")


def parse_range(header: str | None, whole: range) -> range | None:
    """The part of `whole` that is asked for: all of it without a readable range, None for an
    impossible one."""
    found = _RANGE.match(header or "")
    if found is None or found.groups() == ("", ""):
        return whole
    first, last = found.groups()
    if not first:
        wanted = whole[max(0, len(whole) - int(last)) :]
    else:
        wanted = whole[int(first) : int(last) + 1 if last else None]
    return wanted or None
