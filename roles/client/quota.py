"""`quota`: what a user may have of the cluster, and has."""

from __future__ import annotations

from khala.client import AsyncKhala
from khala.protocol.v2 import QuotaLine
from roles.client import tables
from roles.client.tables import Form

_LINES = {
    "waiting tasks": "queued",
    "running tasks": "running",
    "processor seconds today": "cpu_s",
    "stored bytes": "stored_bytes",
}


async def show_quota(khala: AsyncKhala, user: int | None, form: Form) -> int:
    found = await khala.quota(user)
    if form in tables.DOCUMENTS:
        tables.show_structs([found], form)
        return 0
    rows = [[name, *_cells(getattr(found, field))] for name, field in _LINES.items()]
    tables.show_table(["QUOTA", "USED", "LIMIT"], rows)
    return 0


def _cells(line: QuotaLine) -> list[str]:
    """What nothing bounds is not counted."""
    if line.limit is None:
        return ["-", "none"]
    return [f"{line.used or 0:.0f}", str(line.limit)]
