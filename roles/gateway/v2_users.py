"""`/api/v2/users`: who may use the cluster, and as what. Judicators decide; this asks them."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role, User
from khala.model.access_limits import USER_NAME_CHARS
from khala.model.errors import NotFound
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.access import ChangeUser, MakeUser, NewPat, UserList, UserMade
from khala.protocol.v2 import ProblemCode
from roles.gateway.accounts import Accounts, check_user, ttl_of, view_made, view_user
from roles.gateway.callers import caller_of, check_role
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF, problem

USERS = "/api/v2/users"
_ONE = f"{USERS}/<user:str>"
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
_new_decoder = msgspec.json.Decoder(v2.NewUser)
_change_decoder = msgspec.json.Decoder(v2.UserChange)


class UserRoutes(Struct, frozen=True, kw_only=True):
    """The handlers, and whom they ask."""

    accounts: Accounts

    @declare(
        Operation(
            method="GET",
            path=USERS,
            role=Role.ADMIN,
            tag="Access",
            answers={200: Answer(v2.Users)},
        )
    )
    async def list_users(self, _: Request) -> HTTPResponse:
        """All users, by name."""
        items = [view_user(each) for each in await self.accounts.users()]
        return _json(v2.Users(items=items), 200)

    @declare(
        Operation(
            method="GET",
            path=_ONE,
            tag="Access",
            answers={200: Answer(v2.User)},
            problems=(ProblemCode.NOT_FOUND, ProblemCode.FORBIDDEN),
        )
    )
    async def get_user(self, request: Request, user: str) -> HTTPResponse:
        """A user: oneself, or to an administrator anybody."""
        caller = caller_of(request)
        if caller.name != user:
            check_role(caller, Role.ADMIN)
        found = [each for each in await self.accounts.users() if each.name == user]
        if not found:
            raise NotFound(f"there is no user {user[:USER_NAME_CHARS]!r}")
        return _json(view_user(found[0]), 200)

    @declare(
        Operation(
            method="POST",
            path=USERS,
            role=Role.ADMIN,
            act="user.create",
            noted=("name", "role", "number"),
            tag="Access",
            request={JSON: v2.NewUser},
            answers={201: Answer(v2.CreatedUser, headers=("Location",))},
            problems=(
                ProblemCode.VALIDATION_FAILED,
                ProblemCode.ALREADY_THERE,
                ProblemCode.NOT_POSSIBLE,
            ),
        )
    )
    async def create_user(self, request: Request) -> HTTPResponse:
        """Make a user, with a first token if one is asked for. The cluster's first one must be an
        administrator with a token; with it, every gateway asks for tokens."""
        try:
            given = parse_document(_new_decoder, request.body)
            pat = None
            if given.token is not None:
                ttl_s = ttl_of(given.token.expires_in, "/token/expires_in")
                pat = NewPat(name=given.token.name, ttl_s=ttl_s, role=given.token.role)
            asked = MakeUser(name=given.name, role=given.role, number=given.number, pat=pat)
            made = await self.accounts.change("POST", "users", asked, UserMade)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        token = view_made(made.secret, made.pat) if made.secret and made.pat else None
        answer = _json(v2.CreatedUser(user=view_user(made.user), token=token), 201)
        answer.headers["Location"] = f"{USERS}/{made.user.name}"
        return answer

    @declare(
        Operation(
            method="PATCH",
            path=_ONE,
            role=Role.ADMIN,
            act="user.change",
            noted=("role", "disabled"),
            tag="Access",
            request={JSON: v2.UserChange},
            answers={200: Answer(v2.User)},
            problems=(
                ProblemCode.NOT_FOUND,
                ProblemCode.VALIDATION_FAILED,
                ProblemCode.LAST_ADMIN,
                ProblemCode.NOT_POSSIBLE,
            ),
        )
    )
    async def change_user(self, request: Request, user: str) -> HTTPResponse:
        """Give a user another role, or disable it: its tokens are refused until it is enabled
        again; its tasks go on."""
        try:
            given = parse_document(_change_decoder, request.body)
            change = ChangeUser(role=given.role, disabled=given.disabled)
            changed = await self.accounts.change("PATCH", f"users/{check_user(user)}", change, User)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        return _json(view_user(changed), 200)

    @declare(
        Operation(
            method="DELETE",
            path=_ONE,
            role=Role.ADMIN,
            act="user.delete",
            tag="Access",
            answers={204: Answer(content="")},
            problems=(
                ProblemCode.NOT_FOUND,
                ProblemCode.LAST_ADMIN,
                ProblemCode.NOT_POSSIBLE,
            ),
        )
    )
    async def delete_user(self, _: Request, user: str) -> HTTPResponse:
        """Remove a user with its tokens; its tasks stay. The last administrator stays, too: a
        cluster that has users never becomes one that is open."""
        await self.accounts.change("DELETE", f"users/{check_user(user)}", None, UserList)
        return HTTPResponse(None, status=204, headers=_HEADERS)


def _json(body: Struct, status: int) -> HTTPResponse:
    return HTTPResponse(v2.encode(body), status=status, headers=_HEADERS, content_type=JSON)
