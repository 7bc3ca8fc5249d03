"""Where the bytes of a payload go: into the task document, or apart.

Small payloads travel with the document because that saves a write and a read per task; large
ones must not, because MongoDB rewrites a document whenever the task's status changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from msgspec import Struct

from khala.model.limits import INLINE_BYTES
from khala.model.spec import Part, PartRef


class PartPlan(Struct, frozen=True, kw_only=True):
    """`refs` go into the task's spec, `apart` to `PayloadStore.put_parts` before the task."""

    refs: dict[Part, PartRef]
    apart: dict[Part, bytes]


def plan_parts(parts: Mapping[Part, bytes]) -> PartPlan:
    """Keep the smallest parts inline while their sum is below `INLINE_BYTES`."""
    refs: dict[Part, PartRef] = {}
    apart: dict[Part, bytes] = {}
    inline_bytes = 0
    for part, data in sorted(parts.items(), key=lambda entry: len(entry[1])):
        inline = inline_bytes + len(data) < INLINE_BYTES
        inline_bytes += len(data)
        refs[part] = PartRef(
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            inline=data if inline else None,
        )
        if not inline:
            apart[part] = data
    return PartPlan(refs=refs, apart=apart)


def cut(data: bytes, size_bytes: int) -> Iterator[bytes]:
    """`data` in pieces of `size_bytes`; one empty piece for no data, so that it exists."""
    for start in range(0, max(len(data), 1), size_bytes):
        yield data[start : start + size_bytes]
