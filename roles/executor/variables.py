"""What a task learns of itself from its environment."""

from __future__ import annotations

from khala.model.live import Section
from khala.model.spec import Stage, StageLimits, TaskSpec
from khala.protocol.executor import Run
from sandbox import SOURCE


def variables_of(run: Run, spec: TaskSpec, section: Section) -> dict[str, str]:
    """On top of what the task itself asks for.

    Which member of a job it is stays unknown to the compile stage: members would else compile the
    same sources one by one, and could not share what an executor remembers of it.
    """
    task, attempt = run
    stage = section.stage
    limits: StageLimits = spec.compile_limits if stage is Stage.COMPILE else spec.execute_limits
    variables = {
        "KHALA_TASK_ID": task,
        "KHALA_ATTEMPT": str(attempt),
        "KHALA_CPUS": f"{limits.cpus:g}",
        "KHALA_MEMORY_BYTES": str(limits.memory_bytes),
        "KHALA_WORKDIR": SOURCE,
    }
    if section.case:
        variables["KHALA_CASE"] = str(section.case)
    member = spec.member
    if member is not None and stage is Stage.EXECUTE:
        variables["KHALA_JOB_ID"] = member.job
        variables["KHALA_ARRAY_INDEX"] = str(member.index)
        if member.entry is not None:
            variables["KHALA_ENTRY"] = member.entry
    return variables
