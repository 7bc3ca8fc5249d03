"""Whose things are: what a submitter may change, and in whose name somebody submits.

A task, a job and an upload carry the number of a user for good. Operators change anybody's;
submitters their own, which costs them, and nobody else, one more read. Whoever has no number (who
uses KV2's addresses where their operator leaves them open) is held to none, as in KV2.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from khala.model.access import Role
from khala.model.blob import parse_upload_id
from khala.model.errors import Forbidden, NotFound
from khala.model.ids import JobId, parse_task_id
from khala.model.job import is_job_id
from khala.net.client import JudicatorClient
from roles.gateway.callers import Caller


class Owned(StrEnum):
    """What of a request has an owner; every operation that changes something says it."""

    #: The object of its path.
    TASK = "task"
    JOB = "job"
    UPLOAD = "upload"
    #: The `user` of its document, filter or query: its handler asks `user_of` or `only_user_of`.
    USER = "user"
    #: Nothing: blobs are who knows their hash's, and what needs an operator is nobody's.
    NOTHING = "nothing"


async def check_owner(
    client: JudicatorClient, caller: Caller, owned: Owned, arguments: Mapping[str, object]
) -> None:
    """Raise `Forbidden` if the object of the path is somebody else's."""
    if caller.rules or owned in (Owned.USER, Owned.NOTHING):
        return
    if owned is Owned.TASK:
        task = await client.get(parse_task_id(str(arguments["task_id"])))
        check_owned(caller, task.spec.user, f"task {task.id}")
    elif owned is Owned.JOB:
        job = await client.get_job(parse_job_id(str(arguments["job_id"]), "id"))
        check_owned(caller, job.job.spec.user, f"job {job.job.id}")
    else:
        upload = await client.get_upload(parse_upload_id(str(arguments["upload"])))
        check_owned(caller, upload.user, f"upload {upload.id}")


def check_owned(caller: Caller, user: int, what: str) -> None:
    """Raise `Forbidden`."""
    if not owns(caller, user):
        raise Forbidden(
            f"{what} is user {user}'s, and {caller} with the number {caller.identity.number}; to"
            f" change what is others' needs the role {Role.OPERATOR}"
        )


def owns(caller: Caller, user: int) -> bool:
    return caller.rules or caller.identity.number in (None, user)


def user_of(caller: Caller, given: int | None, field: str = "/user") -> int:
    """In whose name something is made: the caller's own unless another one is given. Raise
    `Forbidden` if that is not the caller's to give."""
    if given is None:
        return whose(caller, None)
    if not owns(caller, given):
        raise Forbidden(
            f"{field}: {given} is another user, and {caller} with the number"
            f" {caller.identity.number}; leave it out, or ask somebody with the role"
            f" {Role.OPERATOR}",
            field=field,
        )
    return given


def whose(caller: Caller, given: int | None) -> int:
    """What is shown, which anybody may see: the caller's own unless another one is asked for."""
    return (caller.identity.number or 0) if given is None else given


def only_user_of(caller: Caller, given: int | None, field: str) -> int | None:
    """Whose things a filter is for, of those that the caller may change; None: everybody's."""
    if given is None and (caller.rules or caller.identity.number is None):
        return None
    return user_of(caller, given, field)


def parse_job_id(text: str, field: str) -> JobId:
    known = parse_task_id(text, field=field)
    if not is_job_id(known):
        raise NotFound(f"job {known} does not exist")
    return JobId(known)
