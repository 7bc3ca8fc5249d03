"""Tasks, leases and outcomes for tests."""

from __future__ import annotations

from datetime import UTC, datetime

from khala.model.enforcement import Enforcement, Mode
from khala.model.executor import ImageInfo, Owner
from khala.model.ids import (
    AttemptNo,
    BootId,
    ExecutorName,
    Incarnation,
    JudicatorName,
    SessionNo,
    TaskId,
    mint_nonce,
    mint_task_id,
)
from khala.model.outcome import Ending, Outcome, Reason
from khala.model.spec import ArtifactRequest, Network, Part, Stage, StageLimits, TaskSpec
from khala.model.statements import FinishItem, Lease, LeaseItem, NewTask, OpenSession
from khala.model.wants import Wants
from khala.store.parts import plan_parts

LIMITS = StageLimits(
    wall_ms=10_000,
    cpu_ms=10_000,
    memory_bytes=4 << 30,
    pids=64,
    output_bytes=16 << 20,
    file_bytes=4 << 30,
)
COMMANDS = {Part.COMPILE_COMMAND: b"cc -o a a.c\n", Part.EXECUTE_COMMAND: b"./a\n"}
SUCCESS = Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK)
FAILURE = Outcome(ending=Ending.FAILED, reason=Reason.EXIT_NONZERO, stage=Stage.EXECUTE)


def a_spec(
    user: int = 7,
    parts: dict[Part, bytes] | None = None,
    image: str = "gcc-13",
    priority: int = 0,
    wants: Wants | None = None,
) -> TaskSpec:
    return TaskSpec(
        user=user,
        compile_timeout_s=10,
        execute_timeout_s=0,
        compile_limits=LIMITS,
        execute_limits=LIMITS,
        parts=plan_parts(COMMANDS if parts is None else parts).refs,
        environment={"GREETING": "ä=b"},
        stage_environment={Stage.EXECUTE: {"LEVEL": "2"}},
        image=image,
        cache=False,
        artifacts=ArtifactRequest(globs=("out/**",), max_bytes=1 << 20, max_files=10),
        name="a+b",
        labels={"hw": "3", "course": "cs=101"},
        priority=priority,
        wants=wants or Wants(),
    )


def a_task(
    user: int = 7,
    *,
    key: str | None = None,
    fingerprint: bytes = b"f" * 32,
    lease: Lease | None = None,
    submitted_at: datetime | None = None,
    image: str = "gcc-13",
    priority: int = 0,
) -> NewTask:
    return NewTask(
        id=mint_task_id(),
        spec=a_spec(user, image=image, priority=priority),
        submitted_at=submitted_at or datetime.now(UTC),
        key=key,
        fingerprint=fingerprint,
        lease=lease,
    )


def a_lease(executor: str = "e1", session: int = 1, by: str = "j1") -> Lease:
    return Lease(
        executor=ExecutorName(executor),
        session=SessionNo(session),
        claim=mint_nonce(),
        by=JudicatorName(by),
    )


def lease_item(task: TaskId, attempt: int = 0, lease: Lease | None = None) -> LeaseItem:
    return LeaseItem(id=task, attempt=AttemptNo(attempt), lease=lease or a_lease())


def finish_item(task: TaskId, attempt: int = 1, outcome: Outcome = SUCCESS) -> FinishItem:
    return FinishItem(id=task, attempt=AttemptNo(attempt), outcome=outcome)


def a_hello(name: str = "e1", boot: str = "b1", judicator: str = "j1") -> OpenSession:
    return OpenSession(
        name=ExecutorName(name),
        boot=BootId(boot),
        owner=Owner(judicator=JudicatorName(judicator), incarnation=Incarnation("i1")),
        slots=4,
        version="1",
        enforcement="root, cgroup v1",
        images=(ImageInfo(name="gcc-13", identity="0f1e", size_bytes=5 << 30),),
        networks=tuple(Network),
        enforces=Enforcement(mode=Mode.CGROUP_V1, root=True),
        speaks=1,
        capacity={"cpus": 4000, "memory": 8 << 30, "gpu": 1},
        labels={"zone": "north"},
    )
