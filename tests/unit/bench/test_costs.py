"""Processor time per task: who is charged, and what with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from khala.model.errors import Unavailable
from khala.supervise.child import ChildView, State
from khala.supervise.tree import TreeView
from roles.bench.costs import Costs, combine, read_costs

NOTHING = Costs(
    jail=0, executor=0, judicator=0, mongod=0, gateway=0, etcd=0, supervisors=0, client=0
)
_BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


def report(data_dir: Path, role: str, pid: int, children: dict[str, int]) -> None:
    """What a supervisor writes of itself."""
    (data_dir / "run").mkdir(exist_ok=True)
    views = [
        ChildView(name=name, state=State.UP, pid=child, restarts=0, since_s=0.0, last_exit=None)
        for name, child in children.items()
    ]
    view = TreeView(role=role, pid=pid, rpc="127.0.0.1:4000", children=views)
    (data_dir / "run" / f"{role}.json").write_bytes(msgspec.json.encode(view))


def test_costs_are_of_a_task() -> None:
    rounds = [
        msgspec.structs.replace(NOTHING, jail=0.010, client=0.004),
        msgspec.structs.replace(NOTHING, jail=0.020),
    ]
    each = combine(rounds, tasks=10)
    assert each == msgspec.structs.replace(NOTHING, jail=3.0, client=0.4)
    assert each.total == pytest.approx(3.4)


def test_what_was_spent_before_does_not_count() -> None:
    before = msgspec.structs.replace(NOTHING, mongod=1.0, etcd=2.0)
    after = msgspec.structs.replace(NOTHING, mongod=1.5, etcd=2.0)
    assert after.since(before) == msgspec.structs.replace(NOTHING, mongod=0.5)


def test_a_jail_is_charged_while_it_lives_and_when_it_is_gone(tmp_path: Path) -> None:
    """This process stands in for the executor, and for all that nobody asks about here."""
    me = os.getpid()
    report(tmp_path, "up", me, {"judicator": me, "executor": me, "gateway": me})
    report(tmp_path, "judicator", me, {"etcd": me, "mongod": me, "judicator-serve": me})
    before = read_costs(tmp_path)
    living = subprocess.Popen(
        [sys.executable, "-c", f"{_BURN}print(flush=True)\nimport sys\nsys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with living:
        assert living.stdin is not None
        assert living.stdout is not None
        living.stdout.readline()
        during = read_costs(tmp_path).since(before)
        living.stdin.close()
        living.wait()
    after = read_costs(tmp_path).since(before)
    assert during.jail >= 0.25
    assert after.jail >= during.jail


def test_a_stack_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"up\.json does not say what runs"):
        read_costs(tmp_path)
