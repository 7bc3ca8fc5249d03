"""Runs the checks of the chosen roles in turn, each line as it comes, and says what follows."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from khala.config.setting import ALL, E, G, J
from khala.config.settings import Settings
from khala.protocol.doctor import Level, Line, Report
from roles.doctor import disk, jail, machine, servers
from roles.doctor.apart import attempt
from roles.doctor.finding import Finding

_UNAVAILABLE = 69
_MARKS = {Level.GOOD: "✔", Level.WARNING: "!", Level.MISSING: "✘"}
_PLAIN_MARKS = {Level.GOOD: "ok", Level.WARNING: "!", Level.MISSING: "X"}


class Check(Struct, frozen=True):
    name: str
    roles: tuple[str, ...]
    look: Callable[[Settings], Finding]
    #: It opens a sandbox, in a group of its own.
    in_jail: bool = False


CHECKS = (
    Check("python", ALL, machine.check_python),
    Check("kernel", ALL, machine.check_kernel),
    Check("unpacking", ALL, disk.check_unpacking),
    Check("memory", (J, E), machine.check_memory),
    Check("clock", ALL, machine.check_clock),
    Check("data directory", ALL, disk.check_data_dir),
    Check("free space", (J, E), disk.check_space),
    Check("disk latency", (J, E), disk.check_sync),
    Check("secret", ALL, servers.check_secret),
    Check("etcd", (J,), servers.check_etcd),
    Check("mongod", (J,), servers.check_mongod),
    Check("ports", (J,), servers.check_judicators_ports),
    Check("HTTP port", (G,), servers.check_gateways_port),
    Check("nsjail", (E,), servers.check_nsjail),
    Check("namespaces", (E,), jail.check_namespaces, in_jail=True),
    Check("cgroups", (E,), jail.check_cgroups, in_jail=True),
    Check("trial jail", (E,), jail.check_jail, in_jail=True),
)
_WIDTH = max(len(check.name) for check in CHECKS)


def run(settings: Settings, roles: Sequence[str], *, as_json: bool, jail: bool = True) -> int:
    """Print; 0 if every chosen role can run here, 69 if one lacks something. Without `jail`,
    whatever opens a sandbox is left out."""
    chosen = tuple(role for role in ALL if role in roles) or ALL
    show = _shower()
    if not as_json:
        print(f"{', '.join(chosen)} on {os.uname().nodename}, as {_user()}\n")
    lines = []
    for check in CHECKS:
        needed_by = tuple(role for role in chosen if role in check.roles)
        if needed_by and (jail or not check.in_jail):
            lines.append(_look(check, needed_by, settings))
            if not as_json:
                show(lines[-1])
    report = Report(
        able=all(line.level is not Level.MISSING for line in lines), roles=chosen, lines=lines
    )
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        print(f"\n{conclude(report)}")
    return 0 if report.able else _UNAVAILABLE


def _look(check: Check, needed_by: tuple[str, ...], settings: Settings) -> Line:
    finding = attempt(lambda: check.look(settings))
    return Line(
        check=check.name,
        roles=needed_by,
        level=finding.level,
        found=finding.found,
        repair=finding.repair,
    )


def _shower() -> Callable[[Line], None]:
    """Prints a line with marks that the terminal can show."""
    marks = _MARKS
    try:
        "".join(marks.values()).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        marks = _PLAIN_MARKS
    width = max(len(mark) for mark in marks.values())

    def show(line: Line) -> None:
        print(f"{marks[line.level]:<{width}} {line.check:<{_WIDTH}}  {line.found}", flush=True)
        if line.repair is not None:
            print(f"{'':<{width}} {'':<{_WIDTH}}  repair: {line.repair}", flush=True)

    return show


def conclude(report: Report) -> str:
    """The last line."""
    lacking = {role for line in report.lines if line.level is Level.MISSING for role in line.roles}
    if lacking:
        names = ", ".join(role for role in report.roles if role in lacking)
        return f"Not able to run here: {names}."
    warnings = sum(line.level is Level.WARNING for line in report.lines)
    able = f"Able to run here: {', '.join(report.roles)}"
    return f"{able}; {warnings} warning{'s' * (warnings != 1)}." if warnings else f"{able}."


def _user() -> str:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
