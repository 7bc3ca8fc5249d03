"""What became of a task, told to whoever watches it.

Made from what the reactor knows anyway: reading the store again for each change would double the
work of a short task.
"""

from __future__ import annotations

from khala.core.ports import Comm
from khala.model.ids import ExecutorName
from khala.model.outcome import Outcome
from khala.model.statements import Candidate
from khala.model.task import Progress, TaskBrief, TaskState
from khala.protocol.executor import Run


def announce(
    comm: Comm,
    run: Run,
    task: Candidate,
    now_is: TaskState | Progress | Outcome,
    executor: ExecutorName | None = None,
) -> None:
    """Tell whoever watches what became of a run; a hint."""
    outcome = now_is if isinstance(now_is, Outcome) else None
    now = comm.wall_time()
    comm.changed(
        TaskBrief(
            id=task.id,
            user=task.spec.user,
            state=TaskState(now_is.ending if isinstance(now_is, Outcome) else now_is),
            attempt=run[1],
            submitted_at=task.submitted_at,
            updated_at=now,
            executor=executor or (outcome.executor if outcome else None),
            stage=outcome.stage if outcome else None,
            reason=outcome.reason if outcome else None,
            name=task.spec.name,
            member=task.spec.member,
            labels=task.spec.labels,
            verdict=outcome.judgement.verdict if outcome and outcome.judgement else None,
            score=outcome.score if outcome else None,
            done_at=now if outcome else None,
            again=task.crashes > 0,
        )
    )
