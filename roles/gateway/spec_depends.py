"""What a task document says of the tasks that it waits for. Whether they exist is for a judicator
to say, which knows them."""

from __future__ import annotations

from khala.model.depends import Predecessor
from khala.model.errors import Rejected
from khala.model.ids import parse_task_id
from khala.model.limits import PREDECESSORS
from khala.protocol import v2
from khala.protocol.v2 import IssueCode
from roles.gateway.issues import Issues, step
from roles.gateway.spec import PredecessorSpec


def check_predecessors(
    given: tuple[str | PredecessorSpec, ...], issues: Issues
) -> tuple[Predecessor, ...]:
    if len(given) > PREDECESSORS:
        detail = (
            f"{len(given)} tasks are more than {PREDECESSORS}; submit those as one job and depend"
            " on the job"
        )
        issues.add("/depends_on", IssueCode.TOO_MANY, detail, limit=PREDECESSORS, given=len(given))
        return ()
    found: list[Predecessor] = []
    for index, each in enumerate(given):
        spec = PredecessorSpec(id=each) if isinstance(each, str) else each
        at = f"/depends_on{step(index)}" + ("" if isinstance(each, str) else "/id")
        try:
            task = parse_task_id(spec.id)
        except Rejected as error:
            detail = error.message.partition(": ")[2]
            issues.add(at, IssueCode.INVALID_VALUE, detail, given=spec.id)
            continue
        if any(task == other.id for other in found):
            issues.add(at, IssueCode.DUPLICATE, f"{task} is there already", given=task)
        found.append(Predecessor(id=task, on=spec.on))
    return tuple(found)


def view_predecessors(given: tuple[Predecessor, ...]) -> list[v2.Predecessor]:
    return [v2.Predecessor(id=each.id, on=each.on) for each in given]
