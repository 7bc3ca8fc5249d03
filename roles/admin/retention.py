"""`gc`: remove what has ended and is not to be kept, or say what would go."""

from __future__ import annotations

import msgspec

from khala.config.settings import Settings
from khala.model.limits import MIB
from khala.model.retention import Forgotten, Retention
from khala.protocol.retention import Answer, Forget
from roles.admin.asking import ask, audited

_DATE = "%Y-%m-%d %H:%M:%S"


def gc(settings: Settings, *, dry_run: bool, as_json: bool) -> int:
    """With what was given here, else with what the judicator is set to."""
    keep = settings.retention.policy
    request = Forget(keep=keep if keep.on else None, dry_run=dry_run)
    if dry_run:
        answer = _forget(settings, request)
    else:
        with audited(settings, "cluster.gc", detail=str(keep) if keep.on else ""):
            answer = _forget(settings, request)
    if as_json:
        print(msgspec.json.encode(answer).decode())
    else:
        _print(answer.keep, answer.forgotten, dry_run=dry_run)
    return 0


def _forget(settings: Settings, request: Forget) -> Answer:
    """Of a dry run what one answer says, else until nothing more is to go."""
    total = Forgotten()
    while True:
        given = ask(settings, lambda c: c.ask("POST", "/rpc/v1/retention", request, Answer))
        total = _add(total, given.forgotten)
        if request.dry_run or not given.forgotten.more:
            return Answer(keep=given.keep, forgotten=total)


def _add(one: Forgotten, other: Forgotten) -> Forgotten:
    return Forgotten(
        tasks=one.tasks + other.tasks,
        jobs=one.jobs + other.jobs,
        size_bytes=one.size_bytes + other.size_bytes,
        own=one.own + other.own,
        oldest=min(filter(None, (one.oldest, other.oldest)), default=None),
        newest=max(filter(None, (one.newest, other.newest)), default=None),
        needed=other.needed,
        more=other.more,
    )


def _print(keep: Retention, found: Forgotten, *, dry_run: bool) -> None:
    would = "would go" if dry_run else "went"
    least = "at least " if found.more else ""
    print(f"kept of ended tasks: {keep}, but for those that say themselves how long they stay")
    if not keep.on:
        print(
            "to remove others too, say what is to be kept: --retention-age 30d, --retention-count"
            " or --retention-bytes"
        )
    size = f"{found.size_bytes / MIB:.1f} MiB"
    print(f"{would}: {least}{found.tasks} tasks, {size}; {found.jobs} whole jobs among them")
    if found.own:
        print(f"{found.own} of them {would} by their own retention")
    if found.oldest and found.newest:
        print(f"they ended from {found.oldest:{_DATE}} to {found.newest:{_DATE}} UTC")
    if found.needed:
        print(f"{found.needed} older ones stay: tasks wait for them, or their key is not a day old")
