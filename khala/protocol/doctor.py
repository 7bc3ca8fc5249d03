"""What the doctor finds on a host, and the RPC by which a node's last examination is asked for.

PUT /rpc/v1/nodes/<name>/doctor/executor   Report; from the executor, in its own name
GET /rpc/v1/nodes/<name>/doctor            -> Examinations

A judicator stores its own without asking anyone.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class Level(StrEnum):
    """How bad it is."""

    GOOD = "good"
    #: It works, but worse than it could.
    WARNING = "warning"
    #: A role that needs it does not start, or takes no work.
    MISSING = "missing"


class Line(Struct, frozen=True, kw_only=True):
    """A check with what it found. `roles`: those of the chosen ones that need it."""

    check: str
    roles: tuple[str, ...]
    level: Level
    found: str
    #: The command or the advice that repairs it.
    repair: str | None


class Report(Struct, frozen=True, kw_only=True):
    """`able`: nothing is missing that a chosen role needs."""

    able: bool
    roles: tuple[str, ...]
    lines: list[Line]


class Examination(Struct, frozen=True, kw_only=True):
    """A running role's last look at its own host."""

    role: str
    at: datetime
    report: Report


class Examinations(Struct, frozen=True, kw_only=True):
    #: Of all roles of that name; none of a node that has not looked yet, or is too old to.
    items: list[Examination]
