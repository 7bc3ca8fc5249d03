"""How far two texts are the same: what comparing outputs, and showing where they differ, has in
common."""

from __future__ import annotations


def equal_bytes(one: bytes, other: bytes) -> int:
    """How many bytes are equal from the beginning on. By halves: slices are compared faster than
    Python counts."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
