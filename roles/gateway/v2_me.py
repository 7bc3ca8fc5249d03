"""`GET /api/v2/me` and `/api/v2/roles`: who one is to this gateway, and what that allows."""

from __future__ import annotations

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.protocol import v2
from roles.gateway.callers import caller_of
from roles.gateway.identities import Identities
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF

_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
_MAY = {
    Role.VIEWER: [
        "Read tasks, jobs, their outputs and logs, nodes and numbers of everybody.",
        "Make and revoke its own tokens, that allow no more than the one it shows, and tickets.",
    ],
    Role.SUBMITTER: [
        "Submit tasks, jobs, blobs and uploads under its own number.",
        "Change, hold, cancel, retry and delete what has its own number.",
    ],
    Role.OPERATOR: [
        "Do that with anybody's, and submit under any number.",
        "Change presets.",
        "Cordon, drain and forget nodes, and act on the cluster.",
    ],
    Role.ADMIN: [
        "Make, change and remove users, and make and revoke their tokens.",
        "Read the audit log.",
        "Let nodes join, and take data away.",
    ],
}


class MeRoutes(Struct, frozen=True, kw_only=True):
    """The handlers, and whom they ask."""

    identities: Identities

    @declare(Operation(method="GET", path="/api/v2/me", tag="Access", answers={200: Answer(v2.Me)}))
    async def get_me(self, request: Request) -> HTTPResponse:
        """Who asks, and what they may."""
        caller = caller_of(request)
        identity = caller.identity
        me = v2.Me(
            name=identity.name,
            number=identity.number,
            role=identity.role,
            known_by=caller.known_by,
            token=identity.token,
            expires_at=v2.stamp(identity.expires_at) if identity.expires_at else None,
            has_users=(await self.identities.find(caller.shown)).has_users,
        )
        return HTTPResponse(v2.encode(me), headers=_HEADERS, content_type=JSON)

    @declare(
        Operation(method="GET", path="/api/v2/roles", tag="Access", answers={200: Answer(v2.Roles)})
    )
    async def list_roles(self, _: Request) -> HTTPResponse:
        """The roles, from the least to the most; each may do what the ones before it may, too."""
        items = [v2.RoleItem(name=role, may=_MAY[role]) for role in Role]
        return HTTPResponse(v2.encode(v2.Roles(items=items)), headers=_HEADERS, content_type=JSON)
