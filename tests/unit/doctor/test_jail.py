"""What a trial that worked, but less well than it could, is worth."""

from __future__ import annotations

from khala.model.enforcement import Enforcement, Mode, Unenforced
from khala.protocol.doctor import Level
from roles.doctor.jail import judge_jail
from sandbox.trial import Trial


def _trial(mode: Mode, *warnings: str) -> Trial:
    unenforced = tuple(Unenforced) if mode is Mode.DEGRADED else ()
    enforcement = Enforcement(mode=mode, root=True, unenforced=unenforced)
    return Trial(enforcement=enforcement, warnings=warnings, took_ms=61.4)


def test_a_jail_that_works() -> None:
    found = judge_jail(_trial(Mode.CGROUP_V2))
    assert found.level is Level.GOOD
    assert found.found == "ran and was limited by root, cgroup v2; set up in 61 ms"


def test_what_the_sandbox_warns_of_is_a_warning() -> None:
    found = judge_jail(_trial(Mode.CGROUP_V1, "swap is on and not limited"))
    assert found.level is Level.WARNING and found.found.endswith("; swap is on and not limited")


def test_that_there_are_no_cgroups_is_told_by_the_check_before() -> None:
    found = judge_jail(_trial(Mode.DEGRADED, "degraded: this host does not enforce ..."))
    assert found.level is Level.GOOD and "no cgroups" in found.found
