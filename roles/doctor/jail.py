"""What the sandbox needs: namespaces, cgroups, and a jail that works."""

from __future__ import annotations

import os

import msgspec

from khala.config.settings import Settings
from khala.model.enforcement import Mode
from khala.model.errors import Rejected
from roles.doctor.apart import apart
from roles.doctor.finding import Finding, good, warning
from roles.executor.app import sandbox_config
from sandbox import SandboxConfig, trial


def check_namespaces(_: Settings) -> Finding:
    return apart(lambda: good(", ".join(trial.try_namespaces())))


def check_cgroups(settings: Settings) -> Finding:
    config = _config(settings)

    def look() -> Finding:
        try:
            return good(trial.try_cgroups(config).label)
        except Rejected as error:
            if not settings.executor.allow_degraded:
                raise
            return warning(error.message)

    return apart(look)


def check_jail(settings: Settings) -> Finding:
    config = _config(settings)
    return apart(lambda: judge_jail(trial.try_jail(config)))


def judge_jail(tried: trial.Trial) -> Finding:
    """That there are no cgroups is the finding of another check."""
    found = f"ran and was limited by {tried.enforcement.label}; set up in {tried.took_ms:.0f} ms"
    degraded = tried.enforcement.mode is Mode.DEGRADED
    warnings = [] if degraded else list(tried.warnings)
    return warning("; ".join([found, *warnings])) if warnings else good(found)


def _config(settings: Settings) -> SandboxConfig:
    """The executor's, under a name that no executor has, with no more slots than are tried."""
    return msgspec.structs.replace(sandbox_config(settings), name=f"doctor-{os.getpid()}", slots=1)
