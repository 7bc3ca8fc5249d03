"""What the cluster may still lose: the sentences about it, for its members and for its operators.

Writes are on a majority of the judicators, so what counts is how many are members (their number
decides the majority) and how many of those answer (they must be one).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


def margin_notes(members: Sequence[str], present: Collection[str]) -> list[str]:
    """Nothing, if the loss of a judicator would be survived and no other number of them would do
    as well. `members`: those that are settled; `present`: those that can be seen now."""
    size = len(members)
    missing = [name for name in members if name not in present]
    if missing:
        # More cannot be missing, or nobody would answer.
        spare = max(0, size - len(missing) - (size // 2 + 1))
        more = f"{spare} more may be lost" if spare else "the loss of one more is not survived"
        return [
            f"{len(missing)} of {size} judicators cannot be seen ({', '.join(missing)}): {more}."
        ]
    if size == 1:
        return ["One judicator: the cluster does not survive the loss of its host."]
    if size == 2:
        return ["Two judicators survive no failure; add a third."]
    if size and size % 2 == 0:
        survived = size // 2 - 1
        return [f"{size} judicators survive the loss of {survived}, as {size - 1} do; add one."]
    return []
