"""`gc`: remove what has ended and is not to be kept, or say what would go."""

from __future__ import annotations

import msgspec

from khala.config.options import Result
from khala.config.settings import Settings
from khala.config.table_kept import RETENTION
from khala.model.retention import Forgotten, Retention
from khala.protocol.retention import Answer, Forget
from roles.admin.asking import ask, audited
from roles.operators import add, tell_forgotten


def gc(found: Result, *, dry_run: bool, as_json: bool) -> int:
    """With what was given to the command, else with what is in force: what a file says or a
    variable is the judicator's, and the cluster may keep more."""
    settings, keep = found.settings, _asked(found)
    request = Forget(keep=keep if keep.on else None, dry_run=dry_run)
    if dry_run:
        answer = _forget(settings, request)
    else:
        with audited(settings, "cluster.gc", detail=str(keep) if keep.on else ""):
            answer = _forget(settings, request)
    tell_forgotten(answer, dry_run=dry_run, as_json=as_json)
    return 0


def _asked(found: Result) -> Retention:
    said = {
        each.key: found.origins[each.key].value or None
        for each in RETENTION
        if found.origins[each.key].source == each.flag
    }
    values = (said.get(f"retention.{name}") for name in ("age", "count", "bytes"))
    return msgspec.convert(dict(zip(Retention.__struct_fields__, values, strict=True)), Retention)


def _forget(settings: Settings, request: Forget) -> Answer:
    """Of a dry run what one answer says, else until nothing more is to go."""
    total = Forgotten()
    while True:
        given = ask(settings, lambda c: c.ask("POST", "/rpc/v1/retention", request, Answer))
        total = add(total, given.forgotten)
        if request.dry_run or not given.forgotten.more:
            return Answer(keep=given.keep, forgotten=total)
