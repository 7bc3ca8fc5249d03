"""`gc`: remove what has ended and is not to be kept, or say what would go."""

from __future__ import annotations

from khala.config.settings import Settings
from khala.model.retention import Forgotten
from khala.protocol.retention import Answer, Forget
from roles.admin.asking import ask, audited
from roles.operators import add, tell_forgotten


def gc(settings: Settings, *, dry_run: bool, as_json: bool) -> int:
    """With what was given here, else with what the judicator is set to."""
    keep = settings.retention.policy
    request = Forget(keep=keep if keep.on else None, dry_run=dry_run)
    if dry_run:
        answer = _forget(settings, request)
    else:
        with audited(settings, "cluster.gc", detail=str(keep) if keep.on else ""):
            answer = _forget(settings, request)
    tell_forgotten(answer, dry_run=dry_run, as_json=as_json)
    return 0


def _forget(settings: Settings, request: Forget) -> Answer:
    """Of a dry run what one answer says, else until nothing more is to go."""
    total = Forgotten()
    while True:
        given = ask(settings, lambda c: c.ask("POST", "/rpc/v1/retention", request, Answer))
        total = add(total, given.forgotten)
        if request.dry_run or not given.forgotten.more:
            return Answer(keep=given.keep, forgotten=total)
