"""Limits of a stage as they were asked for, against what this gateway allows.

More than the maximum is refused and never cut: whoever asked for it would otherwise read a time-out
where the answer is a setting. Less than the minimum is refused because no shell starts with it.
"""

from __future__ import annotations

import math

from msgspec import Struct

from khala.config.values import Kind, parse, show
from khala.model.limits import KIB, MIB
from khala.model.spec import StageLimits
from khala.protocol.v2 import IssueCode, Scalar
from roles.gateway.config import GatewayConfig, StageDefaults
from roles.gateway.issues import Issues
from roles.gateway.spec import LimitsSpec

#: What the kernel counts files and directories in.
_FILE_STEP, _DISK_STEP = 512, 4096


class _Rule(Struct, frozen=True, kw_only=True):
    """One limit: its name in the document and in the model, and the setting of its maximum."""

    name: str
    field: str
    kind: Kind
    minimum: float
    flag: str
    #: One of the document in the unit of the model.
    factor: int = 1


_WALL = _Rule(
    name="wall_s",
    field="wall_ms",
    kind=Kind.SECONDS,
    minimum=0.01,
    flag="--wall-max",
    factor=1000,
)
_CPU = _Rule(
    name="cpu_s",
    field="cpu_ms",
    kind=Kind.SECONDS,
    minimum=0.01,
    flag="--wall-max and --cpus-max",
    factor=1000,
)
_CPUS = _Rule(name="cpus", field="cpus", kind=Kind.NUMBER, minimum=0.01, flag="--cpus-max")
_COUNTED = (
    _Rule(
        name="memory",
        field="memory_bytes",
        kind=Kind.SIZE,
        minimum=8 * MIB,
        flag="--memory-max",
    ),
    _Rule(name="pids", field="pids", kind=Kind.INT, minimum=1, flag="--pids-max"),
    _Rule(name="output", field="output_bytes", kind=Kind.SIZE, minimum=1, flag="--output-max"),
    _Rule(
        name="file_size",
        field="file_bytes",
        kind=Kind.SIZE,
        minimum=_FILE_STEP,
        flag="--file-size-max",
    ),
    _Rule(name="disk", field="disk_bytes", kind=Kind.SIZE, minimum=64 * KIB, flag="--disk-max"),
    _Rule(
        name="disk_files", field="disk_files", kind=Kind.INT, minimum=16, flag="--disk-files-max"
    ),
)


def check_limits(
    asked: LimitsSpec, pointer: str, defaults: StageDefaults, config: GatewayConfig, issues: Issues
) -> StageLimits:
    """What will be enforced. Faults go to `issues`, and what is returned is of no use then."""

    def value_of(rule: _Rule) -> float | None:
        return _value(asked, rule, f"{pointer}/{rule.name}", config.maxima, issues)

    start = defaults.with_timeout(0, config.maxima.wall_ms)
    wall_s, cpu_s, cpus = value_of(_WALL), value_of(_CPU), value_of(_CPUS) or start.cpus
    wall_ms = start.wall_ms if wall_s is None else math.ceil(wall_s * 1000)
    # Without a limit of its own, the processors' time is bounded by what fits into the wall time.
    cpu_ms = math.ceil(wall_ms * cpus) if cpu_s is None else math.ceil(cpu_s * 1000)
    counted = {rule.field: value_of(rule) for rule in _COUNTED}
    given = {field: int(value) for field, value in counted.items() if value is not None}
    return StageLimits(
        wall_ms=wall_ms,
        cpu_ms=cpu_ms,
        memory_bytes=given.get("memory_bytes", start.memory_bytes),
        pids=given.get("pids", start.pids),
        output_bytes=given.get("output_bytes", start.output_bytes),
        file_bytes=_round_up(given.get("file_bytes", start.file_bytes), _FILE_STEP),
        cpus=cpus,
        disk_bytes=_round_up(given.get("disk_bytes", start.disk_bytes), _DISK_STEP),
        disk_files=given.get("disk_files", start.disk_files),
    )


def fields_of() -> dict[str, str]:
    """The model's name of each limit."""
    return {rule.name: rule.field for rule in (_WALL, _CPU, _CPUS, *_COUNTED)}


def bounds_of(config: GatewayConfig) -> dict[str, tuple[float, float]]:
    """The least and the most of each limit, in the unit of the document."""
    return {
        rule.name: (rule.minimum, getattr(config.maxima, rule.field) / rule.factor)
        for rule in (_WALL, _CPU, _CPUS, *_COUNTED)
    }


def _parse(kind: Kind, given: Scalar, pointer: str, issues: Issues) -> float | None:
    try:
        value = parse(kind, given)
    except ValueError as error:
        issues.add(pointer, IssueCode.INVALID_VALUE, str(error), given=given)
        return None
    return value if isinstance(value, int | float) else None


def check_range(value: float, minimum: float, maximum: float, pointer: str, issues: Issues) -> bool:
    """Of what is counted, and has no setting of its own."""
    return _check(_Amount(value=value), minimum, maximum, pointer, issues)


def read_amount(
    kind: Kind, given: Scalar, bounds: tuple[float, float], pointer: str, issues: Issues
) -> float | None:
    """Of what is written with a unit; None if it is none, or beyond its bounds."""
    value = _parse(kind, given, pointer, issues)
    if value is None or not _check(_Amount(value=value, kind=kind), *bounds, pointer, issues):
        return None
    return value


class _Amount(Struct, frozen=True, kw_only=True):
    """What was asked for, and how it is told beside its limit."""

    value: float
    #: None: what is counted.
    kind: Kind | None = None
    #: What to do about a maximum.
    next_step: str = ""

    def told(self, value: float) -> str:
        if self.kind is not None:
            return show(self.kind, value)
        return str(int(value)) if value == int(value) else str(value)


def _check(amount: _Amount, minimum: float, maximum: float, pointer: str, issues: Issues) -> bool:
    value = amount.value
    if value < minimum:
        detail = f"{amount.told(value)} is less than the minimum of {amount.told(minimum)}"
        issues.add(pointer, IssueCode.BELOW_MINIMUM, detail, limit=minimum, given=value)
    elif value > maximum:
        detail = f"{amount.told(value)} is more than the maximum of {amount.told(maximum)}"
        detail += amount.next_step
        issues.add(pointer, IssueCode.ABOVE_MAXIMUM, detail, limit=maximum, given=value)
    return minimum <= value <= maximum


def _value(
    asked: LimitsSpec, rule: _Rule, pointer: str, maxima: StageLimits, issues: Issues
) -> float | None:
    """None if it was not given, or is out of range: further numbers are made of it."""
    given = getattr(asked, rule.name)
    value = None if given is None else _parse(rule.kind, given, pointer, issues)
    if value is None:
        return None
    most = getattr(maxima, rule.field)
    maximum = most / rule.factor if rule.factor > 1 else most
    next_step = f"; ask for less, or let the operator raise {rule.flag}"
    amount = _Amount(value=value, kind=rule.kind, next_step=next_step)
    return value if _check(amount, rule.minimum, maximum, pointer, issues) else None


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
