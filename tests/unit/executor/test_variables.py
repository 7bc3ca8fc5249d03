"""What a task learns of itself from its environment."""

from __future__ import annotations

import msgspec
import pytest

from khala.model.ids import AttemptNo, JobId, TaskId
from khala.model.live import Section
from khala.model.spec import Member, Stage, StageLimits, TaskSpec
from roles.executor.variables import variables_of

LIMITS = StageLimits(
    wall_ms=1000,
    cpu_ms=1000,
    memory_bytes=64 << 20,
    pids=8,
    output_bytes=1024,
    file_bytes=1024,
    cpus=1.5,
)
SPEC = TaskSpec(
    user=0,
    compile_timeout_s=1,
    execute_timeout_s=1,
    compile_limits=LIMITS,
    execute_limits=LIMITS,
    parts={},
    member=Member(job=JobId("6" * 24), index=7, entry="north"),
)
RUN = (TaskId("5" * 24), AttemptNo(2))


def test_a_stage_finds_what_it_has() -> None:
    variables = variables_of(RUN, SPEC, Section(Stage.EXECUTE))
    assert variables["KHALA_TASK_ID"] == "5" * 24
    assert variables["KHALA_ATTEMPT"] == "2"
    assert variables["KHALA_CPUS"] == "1.5"
    assert variables["KHALA_MEMORY_BYTES"] == str(64 << 20)
    assert variables["KHALA_JOB_ID"] == "6" * 24
    assert (variables["KHALA_ARRAY_INDEX"], variables["KHALA_ENTRY"]) == ("7", "north")


@pytest.mark.parametrize(
    ("section", "case"),
    [
        (Section(Stage.COMPILE), None),
        (Section(Stage.EXECUTE), None),
        (Section(Stage.EXECUTE, 3), "3"),
    ],
)
def test_a_program_finds_its_case(section: Section, case: str | None) -> None:
    assert variables_of(RUN, SPEC, section).get("KHALA_CASE") == case


def test_the_compile_stage_is_the_same_for_every_member() -> None:
    alone = msgspec.structs.replace(SPEC, member=None)
    stage = Section(Stage.COMPILE)
    assert variables_of(RUN, SPEC, stage) == variables_of(RUN, alone, stage)
