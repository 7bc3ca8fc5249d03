"""What the commands say of a task in one line."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest

from khala.client import Task
from khala.model.task import TaskState
from khala.protocol.v2 import Blocking, Explanation
from roles.client.acts import program_code, stage_shown
from roles.client.describing import described, sentence_of, summary_of, why_waiting

LIMITS = {
    "wall_ms": 1000,
    "cpu_ms": 1000,
    "memory_bytes": 1 << 20,
    "pids": 8,
    "output_bytes": 1024,
    "file_bytes": 1024,
}


def a_stage(result: object = None) -> dict[str, object]:
    return {"command": "", "timeout_s": 0, "limits": LIMITS, "env": {}, "result": result}


def a_task(**fields: object) -> Task:
    empty = {"size": 0, "text": ""}
    document = {
        "id": "6b04d4787d852fb9eb7f7a4e",
        "user": 0,
        "state": "queued",
        "reason": None,
        "message": None,
        "attempt": 1,
        "crashes": 0,
        "executor": None,
        "created_at": datetime.now(UTC),
        "started_at": None,
        "finished_at": None,
        "updated_at": datetime.now(UTC),
        "enforcement": None,
        "stages": {"compile": a_stage(), "execute": a_stage()},
        "inputs": {
            "compile_source": None,
            "execute_data": None,
            "execute_input": empty,
            "execute_standard": empty,
        },
        "artifacts": None,
        "artifacts_request": None,
        "pending": None,
        "image": "",
        "cache": "auto",
        **fields,
    }
    return msgspec.convert(document, Task)


def ran(**fields: object) -> dict[str, object]:
    output = {"size": 0, "kept": 0, "text": "", "gap": None, "tail": None, "truncated": False}
    result = {
        "reason": "exit_nonzero",
        "exit_code": None,
        "signal": None,
        "limit": None,
        "observed": None,
        "wall_ms": 1,
        "cpu_user_ms": 1,
        "cpu_system_ms": 1,
        "memory_peak_bytes": 1,
        "pids_peak": None,
        "written_bytes": None,
        "message": None,
        "cache": None,
        "stdout": output,
        "stderr": output,
        **fields,
    }
    return {"compile": a_stage(), "execute": a_stage(result)}


def test_a_waiting_task_says_what_it_waits_for() -> None:
    pending = {"code": "no_image", "detail": "waiting for image gcc"}
    told = sentence_of(a_task(pending=pending))
    assert re.fullmatch(r"6b04d4787d852fb9eb7f7a4e queued for \d+s: waiting for image gcc", told)


def test_an_ended_task_says_why() -> None:
    ended = a_task(state="failed", reason="memory", message="killed for\x1b[31m more")
    told = sentence_of(ended)
    assert told.startswith("6b04d4787d852fb9eb7f7a4e failed (memory): killed for")
    assert "\x1b" not in told


def test_a_cancelled_task_says_who_ended_it_and_why() -> None:
    said = {"by": "ann", "reason": "wrong\x1b[31m input"}
    ended = a_task(state="cancelled", reason="cancelled", message="-", cancellation=said)
    told = sentence_of(ended)
    assert told.startswith("6b04d4787d852fb9eb7f7a4e cancelled by ann: wrong")
    assert "\x1b" not in told
    assert sum("cancelled by ann: wrong" in line for line in described(ended)) == 2
    silent = a_task(state="cancelled", reason="cancelled")
    assert sentence_of(silent) == "6b04d4787d852fb9eb7f7a4e cancelled (cancelled)"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"exit_code": 3}, 3),
        ({"exit_code": 137, "signal": 9, "reason": "signal"}, 137),
        ({"reason": "wall_time"}, 1),
    ],
)
def test_run_ends_as_the_program_did(fields: dict[str, object], code: int) -> None:
    assert program_code(a_task(state="failed", stages=ran(**fields))) == code


def test_run_ends_well_or_without_a_stage() -> None:
    assert program_code(a_task(state="succeeded", stages=ran(exit_code=0, reason="ok"))) == 0
    assert program_code(a_task(state="error", reason="bad_input")) == 1


def a_result(**fields: object) -> dict[str, object]:
    nothing = {"size": 0, "kept": 0, "text": "", "gap": None, "tail": None, "truncated": False}
    return {
        "reason": "ok",
        "exit_code": 0,
        "signal": None,
        "limit": None,
        "observed": None,
        "wall_ms": 210,
        "cpu_user_ms": 1,
        "cpu_system_ms": 1,
        "memory_peak_bytes": 1 << 20,
        "pids_peak": 1,
        "written_bytes": 0,
        "message": None,
        "cache": None,
        "stdout": nothing,
        "stderr": nothing,
        **fields,
    }


def test_a_judged_run_is_summed_up() -> None:
    now = datetime.now(UTC)
    task = a_task(
        state="succeeded",
        reason="ok",
        executor="exec-07",
        created_at=now,
        started_at=now,
        verdict="WA",
        first_difference={"line": 17, "expected": "42", "actual": "41"},
        stages={
            "compile": a_stage(a_result(wall_ms=1900, cache="miss")),
            "execute": a_stage(a_result()),
        },
    )
    assert list(summary_of(task)) == [
        "6b04d478  queued → exec-07 (0.0 s)",
        "compile   ok  1.90 s  (cache miss)",
        "run       exit 0  210 ms  1.0 MiB",
        'verdict   WA: line 17: expected "42", got "41"  khala diff 6b04d478',
    ]


def test_how_it_ended_stands_at_the_end() -> None:
    task = a_task(
        state="failed",
        reason="memory",
        message="used 256.0 MiB of 256 MiB",
        enforcement={"mode": "cgroup_v2", "root": True, "unenforced": []},
        stages={
            "compile": a_stage(),
            "execute": a_stage(a_result(reason="memory", exit_code=None)),
        },
        done=True,
    )
    assert described(task)[-1] == (
        "Ended     failed · memory: used 256.0 MiB of 256 MiB (cgroup_v2), in execute"
    )


def test_why_it_waits() -> None:
    seen = Explanation(
        state=TaskState.QUEUED,
        summary="",
        blocking=[
            Blocking(code="too_small", detail="has not gpu 2", nodes=["a", "b"], count=5),
            Blocking(code="cordoned", detail='cordoned: "kernel"', nodes=["c"], count=1),
        ],
        position=12,
        would_run_if=["c is uncordoned"],
    )
    assert list(why_waiting(seen)) == [
        "  5 nodes   too_small: has not gpu 2 (a, b, ...)",
        '  1 node    cordoned: cordoned: "kernel" (c)',
        "  place 12 in the queue",
        "  would run if c is uncordoned",
    ]


OUTPUT = {"size": 0, "kept": 0, "text": "", "gap": None, "tail": None, "truncated": False}
RESULT = {
    "reason": "ok",
    "exit_code": 0,
    "signal": None,
    "limit": None,
    "observed": None,
    "wall_ms": 1,
    "cpu_user_ms": 0,
    "cpu_system_ms": 0,
    "memory_peak_bytes": 0,
    "pids_peak": None,
    "written_bytes": None,
    "message": None,
    "cache": None,
    "stdout": OUTPUT,
    "stderr": OUTPUT,
}


@pytest.mark.parametrize(
    ("compiled", "ran", "shown"),
    [(None, None, None), (RESULT, None, "compile"), (RESULT, RESULT, "execute")],
)
def test_a_log_without_a_stage_is_that_of_the_result(
    compiled: object, ran: object, shown: str | None
) -> None:
    """What was cancelled has none, and all that it wrote is shown."""
    task = a_task(stages={"compile": a_stage(compiled), "execute": a_stage(ran)})
    assert stage_shown(task.stages) == shown
