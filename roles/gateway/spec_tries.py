"""What a task document says of its attempts: which results are not the last, how often its executor
may be lost, how long it waits for the first one, and how long it is kept after the last."""

from __future__ import annotations

from khala.config.values import Kind
from khala.model.limits import (
    CRASH_LIMIT,
    CRASHES_MAX,
    QUEUE_TTL_MAX_S,
    QUEUE_TTL_MIN_S,
    RETENTION_MAX_S,
    RETENTION_MIN_S,
    RETRY_ATTEMPTS,
    RETRY_BACKOFF_LIMIT_S,
    RETRY_BACKOFF_MAX_S,
    RETRY_BACKOFF_S,
)
from khala.model.retention import rounded_up
from khala.model.retry import Retry, RetryReason
from khala.protocol import v2
from khala.protocol.v2 import IssueCode
from roles.gateway.issues import Issues, step
from roles.gateway.spec import Duration, RetrySpec
from roles.gateway.spec_limits import check_range, read_amount

#: What is tried again without being asked, and where that is bounded.
_LOSSES = frozenset({"executor_lost", "setup_failed", "internal"})


def check_retry(given: RetrySpec | None, issues: Issues) -> Retry | None:
    if given is None:
        return None
    check_range(given.max_attempts, 1, RETRY_ATTEMPTS, "/retry/max_attempts", issues)
    backoff_s = _check_pause(given.backoff_s, 0.0, "/retry/backoff_s", issues)
    if backoff_s is None:
        backoff_s = RETRY_BACKOFF_S
    most_s = _check_pause(given.backoff_max_s, backoff_s, "/retry/backoff_max_s", issues)
    return Retry(
        max_attempts=given.max_attempts,
        on=_check_reasons(given.on, issues),
        backoff_s=backoff_s,
        backoff_max_s=max(backoff_s, RETRY_BACKOFF_MAX_S) if most_s is None else most_s,
    )


def _check_reasons(given: tuple[str, ...], issues: Issues) -> tuple[RetryReason, ...]:
    known = {reason.value: reason for reason in RetryReason}
    if len(given) > len(known):
        detail = f"{len(given)} are more than there are: {', '.join(known)}"
        issues.add("/retry/on", IssueCode.TOO_MANY, detail, limit=len(known), given=len(given))
        return ()
    found: list[RetryReason] = []
    for index, word in enumerate(given):
        at = f"/retry/on{step(index)}"
        if word in known:
            if known[word] in found:
                issues.add(at, IssueCode.DUPLICATE, f"{word} is there already", given=word)
            found.append(known[word])
            continue
        detail = f"one of {', '.join(known)} is expected"
        if word in _LOSSES:
            detail = (
                "attempts without a result are repeated anyway, up to max_crashes; leave it out"
            )
        issues.add(at, IssueCode.INVALID_VALUE, detail, given=word)
    return tuple(sorted(set(found)))


def check_max_crashes(given: int | None, issues: Issues) -> int:
    crashes = CRASH_LIMIT if given is None else given
    check_range(crashes, 1, CRASHES_MAX, "/max_crashes", issues)
    return crashes


def check_queue_ttl(given: Duration | None, issues: Issues) -> float | None:
    if given is None:
        return None
    bounds = (QUEUE_TTL_MIN_S, QUEUE_TTL_MAX_S)
    return read_amount(Kind.SECONDS, given, bounds, "/queue_ttl_s", issues)


def check_retention(given: Duration | None, issues: Issues) -> int | None:
    if given is None:
        return None
    bounds = (RETENTION_MIN_S, RETENTION_MAX_S)
    kept_s = read_amount(Kind.SECONDS, given, bounds, "/retention", issues)
    return None if kept_s is None else rounded_up(kept_s)


def _check_pause(
    given: Duration | None, least_s: float, pointer: str, issues: Issues
) -> float | None:
    bounds = (least_s, RETRY_BACKOFF_LIMIT_S)
    return None if given is None else read_amount(Kind.SECONDS, given, bounds, pointer, issues)


def view_retry(retry: Retry | None) -> v2.Retry | None:
    if retry is None:
        return None
    return v2.Retry(
        max_attempts=retry.max_attempts,
        on=[reason.value for reason in retry.on or tuple(RetryReason)],
        backoff_s=retry.backoff_s,
        backoff_max_s=retry.backoff_max_s,
    )
