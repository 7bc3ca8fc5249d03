"""What a task document says of its attempts."""

from __future__ import annotations

from typing import Any

import pytest

from khala.model.depends import On, Predecessor
from khala.model.ids import TaskId
from khala.model.limits import (
    CRASH_LIMIT,
    CRASHES_MAX,
    PREDECESSORS,
    QUEUE_TTL_MAX_S,
    RETRY_ATTEMPTS,
)
from khala.model.retry import Retry, RetryReason
from tests.unit.gateway.documents import SMALLEST, issue_of, task_of

A, B = "a" * 24, "b" * 24


def test_predecessors_are_ids_or_ids_with_how_they_end() -> None:
    task = task_of(SMALLEST | {"depends_on": [A, {"id": B, "on": "any"}]})
    assert task.depends_on == (Predecessor(id=TaskId(A)), Predecessor(id=TaskId(B), on=On.ANY))


def test_nothing_is_said_unless_it_is_given() -> None:
    task = task_of(SMALLEST)
    assert (task.retry, task.max_crashes, task.queue_ttl_s) == (None, CRASH_LIMIT, None)


def test_they_are_kept() -> None:
    given = {
        "retry": {"max_attempts": 4, "on": ["wall_time", "signal"], "backoff_s": "500ms"},
        "max_crashes": 1,
        "queue_ttl_s": "1h",
        "retention": "30d",
    }
    task = task_of(SMALLEST | given)
    assert task.retry == Retry(
        max_attempts=4, on=(RetryReason.SIGNAL, RetryReason.WALL_TIME), backoff_s=0.5
    )
    assert (task.max_crashes, task.queue_ttl_s) == (1, 3600)
    assert task.retention_s == 30 * 86_400


def test_the_default_maximum_is_no_less_than_the_first_pause() -> None:
    retry = task_of(SMALLEST | {"retry": {"max_attempts": 2, "backoff_s": 1000}}).retry
    assert retry is not None and retry.backoff_max_s == 1000


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"retention": "4000d"}, "4000d is more than the maximum of 3650d"),
        ({"queue_ttl_s": 0}, "0s is less than the minimum of 1s"),
        ({"max_crashes": 0}, "0 is less than the minimum of 1"),
        ({"queue_ttl_s": "990ms"}, "0.99s is less than the minimum of 1s"),
    ],
)
def test_bounds_are_told_as_they_are_written(given: dict[str, Any], detail: str) -> None:
    assert issue_of(SMALLEST | given).detail == detail


def retry(**fields: object) -> dict[str, Any]:
    return {"retry": {"max_attempts": 2, **fields}}


@pytest.mark.parametrize(
    ("given", "pointer", "code"),
    [
        ({"retry": {}}, "/retry/max_attempts", "missing_field"),
        (retry(max_attempts=0), "/retry/max_attempts", "below_minimum"),
        (retry(max_attempts=RETRY_ATTEMPTS + 1), "/retry/max_attempts", "above_maximum"),
        (retry(max_attempts="3"), "/retry/max_attempts", "wrong_type"),
        (retry(on=["bad_luck"]), "/retry/on/0", "invalid_value"),
        (retry(on=["signal", "signal"]), "/retry/on/1", "duplicate"),
        (retry(on="signal"), "/retry/on", "wrong_type"),
        (retry(backoff_s=-1), "/retry/backoff_s", "invalid_value"),
        (retry(backoff_s="soon"), "/retry/backoff_s", "invalid_value"),
        (retry(backoff_s=10, backoff_max_s=5), "/retry/backoff_max_s", "below_minimum"),
        (retry(backoff_max_s="2d"), "/retry/backoff_max_s", "above_maximum"),
        (retry(backoff_max_s=90_000), "/retry/backoff_max_s", "above_maximum"),
        (retry(tries=3), "/retry/tries", "unknown_field"),
        ({"depends_on": ["last"]}, "/depends_on/0", "invalid_value"),
        ({"depends_on": [{"id": "last"}]}, "/depends_on/0/id", "invalid_value"),
        ({"depends_on": [A, {"id": A, "on": "any"}]}, "/depends_on/1/id", "duplicate"),
        ({"depends_on": [{"id": A, "on": "failure"}]}, "/depends_on/0/on", "invalid_value"),
        ({"depends_on": [{"on": "any"}]}, "/depends_on/0/id", "missing_field"),
        ({"depends_on": [A] * (PREDECESSORS + 1)}, "/depends_on", "too_many"),
        ({"max_crashes": 0}, "/max_crashes", "below_minimum"),
        ({"max_crashes": CRASHES_MAX + 1}, "/max_crashes", "above_maximum"),
        ({"max_crashes": 1.5}, "/max_crashes", "wrong_type"),
        ({"queue_ttl_s": 0.5}, "/queue_ttl_s", "below_minimum"),
        ({"queue_ttl_s": QUEUE_TTL_MAX_S + 1}, "/queue_ttl_s", "above_maximum"),
        ({"queue_ttl_s": "for ever"}, "/queue_ttl_s", "invalid_value"),
        ({"retention": 59}, "/retention", "below_minimum"),
        ({"retention": "3651d"}, "/retention", "above_maximum"),
        ({"retention": "for ever"}, "/retention", "invalid_value"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given: dict[str, Any], pointer: str, code: str) -> None:
    issue = issue_of(SMALLEST | given)
    assert (issue.pointer, issue.code) == (pointer, code)


@pytest.mark.parametrize("word", ["executor_lost", "setup_failed", "internal"])
def test_what_is_repeated_anyway_is_said(word: str) -> None:
    issue = issue_of(SMALLEST | retry(on=[word]))
    assert "max_crashes" in issue.detail and issue.given == word
