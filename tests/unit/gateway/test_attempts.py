"""What is shown of a task's attempts."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from khala.model.attempts import AttemptEnd, PastAttempt
from khala.model.ids import AttemptNo, ExecutorName
from khala.model.outcome import Ending, Outcome, Reason, StageOutcome
from khala.model.spec import Stage
from khala.model.statements import cancelled, lost_repeatedly
from khala.model.task import Dispatch, Task
from khala.protocol.v2 import Attempt, Usage
from roles.gateway.view_attempts import view_attempts
from tests.unit.core.desk import DONE
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.double import START
from tests.unit.gateway.test_kv2 import task_of
from tests.unit.gateway.test_pending import a_task

E1 = ExecutorName("e1")
FAILED = Outcome(
    ending=Ending.FAILED,
    reason=Reason.EXIT_NONZERO,
    stage=Stage.EXECUTE,
    note="exit code 3",
    compile=StageOutcome(reason=Reason.OK, wall_ms=5, cpu_user_ms=3, memory_peak_bytes=9),
    execute=StageOutcome(
        reason=Reason.EXIT_NONZERO, exit_code=3, wall_ms=7, cpu_system_ms=2, memory_peak_bytes=4
    ),
)


def past(number: int, end: AttemptEnd, outcome: Outcome | None = None) -> PastAttempt:
    return PastAttempt(
        attempt=AttemptNo(number),
        end=end,
        executor=E1,
        started_at=START,
        ended_at=START + timedelta(seconds=number),
        outcome=outcome,
    )


def at(number: int, dispatch: Dispatch, *before: PastAttempt, **fields: object) -> Task:
    task = replace(a_task(), attempt=AttemptNo(number), dispatch=dispatch, past=before)
    return replace(task, **fields)


def ends(task: Task) -> list[tuple[int, str]]:
    return [(each.attempt, each.end) for each in view_attempts(task).attempts]


def test_a_task_that_waits_for_its_first_has_none() -> None:
    assert view_attempts(at(0, Dispatch.QUEUED)).attempts == []


def test_a_result_that_was_not_the_last_is_told_whole() -> None:
    task = at(
        2,
        Dispatch.DONE,
        past(1, AttemptEnd.RETRIED, FAILED),
        outcome=replace(DONE, executor=E1),
        result_attempt=AttemptNo(2),
        done_at=START,
    )
    first, second = view_attempts(task).attempts
    assert first == Attempt(
        attempt=1,
        end="retried",
        executor="e1",
        started_at=START,
        ended_at=START + timedelta(seconds=1),
        reason=Reason.EXIT_NONZERO,
        message="exit code 3",
        exit_code=3,
        usage=Usage(wall_ms=12, cpu_ms=5, memory_peak_bytes=9),
    )
    assert (second.end, second.executor, second.reason) == ("recorded", "e1", Reason.OK)


def test_what_runs_is_the_last() -> None:
    lost = past(1, AttemptEnd.EXECUTOR_LOST)
    assert ends(at(2, Dispatch.LEASED, lost)) == [(1, "executor_lost"), (2, "running")]
    assert ends(at(1, Dispatch.QUEUED, lost)) == [(1, "executor_lost")]


def test_a_late_result_wins_over_what_was_believed() -> None:
    task = at(
        1,
        Dispatch.DONE,
        past(1, AttemptEnd.EXECUTOR_LOST),
        outcome=DONE,
        result_attempt=AttemptNo(1),
    )
    assert ends(task) == [(1, "recorded")]
    adopted = at(1, Dispatch.LEASED, past(1, AttemptEnd.EXECUTOR_LOST))
    assert ends(adopted) == [(1, "running")]


def test_an_end_without_a_result() -> None:
    returned = past(1, AttemptEnd.RETURNED)
    assert ends(at(2, Dispatch.DONE, returned, outcome=cancelled())) == [
        (1, "returned"),
        (2, "cancelled"),
    ]
    assert ends(at(1, Dispatch.DONE, returned, outcome=cancelled())) == [(1, "returned")]
    assert ends(at(0, Dispatch.DONE, outcome=cancelled())) == []
    assert ends(at(1, Dispatch.DONE, outcome=lost_repeatedly(1))) == [(1, "executor_lost")]


def test_what_is_forgotten_is_counted() -> None:
    task = at(40, Dispatch.LEASED, *(past(n, AttemptEnd.RETURNED) for n in range(8, 40)))
    shown = view_attempts(task)
    assert (len(shown.attempts), shown.forgotten) == (33, 7)


async def test_it_is_served_beside_the_explanation(site: Site) -> None:
    task = site.judicator.add(task_of(), DONE)
    async with site.http.get(site.url(f"/api/v2/tasks/{task.id}/attempts")) as response:
        attempts = (await response.json())["attempts"]
    assert [each["end"] for each in attempts] == ["recorded"]
    async with site.http.get(site.url(f"/api/v2/tasks/{task.id}/explain")) as response:
        assert (await response.json())["attempts"] == attempts
    async with site.http.get(site.url(f"/api/v2/tasks/{'0' * 24}/attempts")) as response:
        assert response.status == 404
