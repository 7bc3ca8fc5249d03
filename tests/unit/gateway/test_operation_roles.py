"""Who may call each operation, and whose things it changes: the whole table, so that whoever adds
an operation has to say it here, too."""

from __future__ import annotations

import json
from pathlib import Path

from khala.model.access import Role
from roles.gateway.app import HANDLERS
from roles.gateway.operations import Operation, declared_by
from roles.gateway.ownership import Owned

#: What the pages tell their visitors beforehand.
NEEDS = Path(__file__).resolve().parents[3] / "ui" / "src" / "lib" / "needs.json"

#: What changes something: the role it needs, whose it must be of a submitter, the audit's word.
CHANGES = {
    "POST /api/v2/tasks": "submitter user -",
    "POST /api/v2/tasks/batch": "submitter user -",
    "POST /api/v2/tasks/actions": "submitter user task.bulk",
    "PATCH /api/v2/tasks/<task_id:str>": "submitter task task.patch",
    "DELETE /api/v2/tasks/<task_id:str>": "submitter task task.delete",
    "POST /api/v2/tasks/<task_id:str>/cancel": "submitter task task.cancel",
    "POST /api/v2/tasks/<task_id:str>/retry": "submitter task -",
    "POST /api/v2/tasks/<task_id:str>/rerun": "submitter user -",
    "POST /api/v2/jobs": "submitter user -",
    "PATCH /api/v2/jobs/<job_id:str>": "submitter job job.patch",
    "POST /api/v2/jobs/<job_id:str>/cancel": "submitter job job.cancel",
    "POST /api/v2/jobs/<job_id:str>/retry": "submitter job -",
    "PUT /api/v2/blobs/<blob:str>": "submitter nothing -",
    "POST /api/v2/uploads": "submitter user -",
    "PATCH /api/v2/uploads/<upload:str>": "submitter upload -",
    "DELETE /api/v2/uploads/<upload:str>": "submitter upload -",
    "PUT /api/v2/presets/<preset:str>": "operator nothing preset.put",
    "DELETE /api/v2/presets/<preset:str>": "operator nothing preset.delete",
    "DELETE /api/v2/nodes/<name:str>": "operator nothing node.forget",
    "POST /api/v2/nodes/<name:str>/cordon": "operator nothing node.cordon",
    "DELETE /api/v2/nodes/<name:str>/cordon": "operator nothing node.uncordon",
    "POST /api/v2/nodes/<name:str>/drain": "operator nothing node.drain",
    "POST /api/v2/gc": "operator nothing cluster.gc",
    "POST /api/v2/cluster/transfer-leadership": "operator nothing cluster.transfer_leadership",
    "POST /api/v2/cluster/join-tokens": "admin nothing join_token.create",
    "DELETE /api/v2/cluster/join-tokens/<join_token:str>": "admin nothing join_token.revoke",
    "PATCH /api/v2/cluster/config": "admin nothing config.patch",
    "POST /api/v2/backups": "operator nothing backup.create",
    "POST /api/v2/backups/<backup:str>/verify": "operator nothing backup.verify",
    "DELETE /api/v2/backups/<backup:str>": "operator nothing backup.delete",
    "POST /api/v2/users": "admin nothing user.create",
    "PATCH /api/v2/users/<user:str>": "admin nothing user.change",
    "DELETE /api/v2/users/<user:str>": "admin nothing user.delete",
    # One's own; that of others is looked at by the handler.
    "POST /api/v2/tokens": "viewer nothing token.create",
    "DELETE /api/v2/tokens/<token_id:str>": "viewer nothing token.delete",
    # Made often, and grants nothing that its maker did not show.
    "POST /api/v2/tickets": "viewer nothing -",
    "POST /api/v2/session": "anyone nothing -",
    "DELETE /api/v2/session": "anyone nothing -",
}
#: What only reads, and not everybody may.
READS = {
    "GET /api/v2/cluster/config": "operator",
    "GET /api/v2/nodes/<name:str>/doctor": "operator",
    "GET /api/v2/backups": "operator",
    "GET /api/v2/backups/<backup:str>": "operator",
    "GET /api/v2/backups/<backup:str>/archive": "admin",
    "GET /api/v2/cluster/join-tokens": "admin",
    "GET /api/v2/users": "admin",
    "GET /api/v2/audit": "admin",
}


def _said(operation: Operation) -> str:
    role = "anyone" if operation.anyone else operation.needs
    return f"{role} {operation.owned} {operation.act or '-'}"


def test_who_may_change_what() -> None:
    operations = [each.operation for each in declared_by(HANDLERS)]
    said = {f"{each.method} {each.path}": _said(each) for each in operations if not each.safe}
    assert said == CHANGES


def test_everybody_reads_all_but_what_is_an_administrators() -> None:
    operations = [each.operation for each in declared_by(HANDLERS)]
    said = {
        f"{each.method} {each.path}": str(each.needs)
        for each in operations
        if each.safe and each.needs is not Role.VIEWER
    }
    assert said == READS


def test_what_a_submitter_may_change_has_an_owner() -> None:
    """Blobs belong to who knows their hash, and a session to who has its cookie."""
    free = {
        f"{each.operation.method} {each.operation.path}"
        for each in declared_by(HANDLERS)
        if not each.operation.safe
        and each.operation.needs is Role.SUBMITTER
        and each.operation.owned is Owned.NOTHING
    }
    assert free == {
        "PUT /api/v2/blobs/<blob:str>",
        "POST /api/v2/session",
        "DELETE /api/v2/session",
    }


def test_what_needs_more_than_a_submitter_is_audited() -> None:
    assert not [
        each.name
        for each in declared_by(HANDLERS)
        if not each.operation.safe
        and each.operation.needs.may(Role.OPERATOR)
        and each.operation.act is None
    ]


def test_an_owner_is_found_by_a_parameter_of_the_path() -> None:
    names = {Owned.TASK: "<task_id:str>", Owned.JOB: "<job_id:str>", Owned.UPLOAD: "<upload:str>"}
    for each in declared_by(HANDLERS):
        assert names.get(each.operation.owned, "") in each.operation.path


def test_the_pages_know_who_may() -> None:
    operations = {each.name: each.operation for each in declared_by(HANDLERS)}
    told = json.loads(NEEDS.read_bytes())
    said = {
        name: [str(operations[name].needs), str(operations[name].owned)]
        for name in told
        if name in operations
    }
    assert told == said
