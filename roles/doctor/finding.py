"""What one check found."""

from __future__ import annotations

from msgspec import Struct

from khala.model.errors import KhalaError
from khala.protocol.doctor import Level


class Finding(Struct, frozen=True, kw_only=True):
    """What was found, and the command or advice that repairs it."""

    level: Level
    found: str
    repair: str | None = None


def good(found: str) -> Finding:
    return Finding(level=Level.GOOD, found=found)


def warning(found: str, repair: str | None = None) -> Finding:
    return Finding(level=Level.WARNING, found=found, repair=repair)


def missing(found: str, repair: str | None = None) -> Finding:
    return Finding(level=Level.MISSING, found=found, repair=repair)


def refused(error: KhalaError) -> Finding:
    """As a role says it when it refuses to start; its sentence has the repair."""
    return missing(error.message)


def worst(findings: list[Finding]) -> Finding:
    """One line for several things: all of what is not good, else all of it."""
    order = list(Level)
    level = max((each.level for each in findings), key=order.index)
    shown = [each for each in findings if each.level is not Level.GOOD] or findings
    repairs = [each.repair for each in shown if each.repair is not None]
    return Finding(
        level=level,
        found="; ".join(each.found for each in shown),
        repair="; ".join(repairs) or None,
    )
