"""What HTTP says of users and tokens: what is taken, and how a refusal is told and understood."""

from __future__ import annotations

import msgspec
import pytest

from khala.client.failures import failure_of as failure_of_answer
from khala.model.access import Role
from khala.model.errors import AlreadyThere, Forbidden, KhalaError, LastAdmin
from khala.net.httpd import failure_of
from khala.net.rpc_errors import body_of, error_of
from khala.protocol import v2
from roles.gateway.pages import problem_of


def test_what_is_left_out_is_not_sent() -> None:
    assert msgspec.json.encode(v2.UserChange(disabled=False)) == b'{"disabled":false}'
    user = v2.NewUser(name="ann", role=Role.ADMIN, token=v2.NewUserToken(name="laptop"))
    assert msgspec.to_builtins(user) == {
        "name": "ann",
        "role": "admin",
        "token": {"name": "laptop"},
    }


@pytest.mark.parametrize(
    "document",
    [
        b'{"name": "", "role": "admin"}',
        b'{"name": "ann", "role": "root"}',
        b'{"name": "ann", "role": "admin", "number": -1}',
        b'{"name": "ann", "role": "admin", "number": 2147483648}',
        b'{"name": "ann", "role": "admin", "token": {"name": "x", "secret": "mine"}}',
        b'{"name": "ann", "role": "admin", "tokens": []}',
    ],
)
def test_a_user_has_bounds(document: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(document, type=v2.NewUser)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Forbidden("this needs the role admin; ann is a viewer"), 403, "forbidden"),
        (LastAdmin("ann is the last administrator"), 409, "last_admin"),
        (AlreadyThere("there is a user ann"), 409, "already_there"),
    ],
)
def test_refusals_keep_their_meaning_from_the_judicator_to_the_client(
    error: KhalaError, status: int, code: str
) -> None:
    there = error_of(body_of(error))
    assert type(there) is type(error)
    failure = failure_of(there)
    problem = problem_of(failure)
    assert (failure.status, problem.code, problem.detail) == (status, code, error.message)
    understood = failure_of_answer(status, msgspec.json.encode(problem), "http://gateway")
    assert understood.message == error.message
