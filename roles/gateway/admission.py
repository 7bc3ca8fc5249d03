"""What stands before every operation: whether who asks may do it, to this very object."""

from __future__ import annotations

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import KhalaError, Rejected
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure, Handler
from roles.gateway.bodies import drop_body
from roles.gateway.callers import NO_LONGER, caller_of, check_role, still_holds
from roles.gateway.operations import Operation
from roles.gateway.ownership import check_owner
from roles.gateway.pages import problem


class Admission(Struct, frozen=True, kw_only=True):
    """Wraps handlers; operations declare what it looks at."""

    client: JudicatorClient

    def before(self, handler: Handler, operation: Operation) -> Handler:
        if operation.anyone:
            return handler
        needs, owned = operation.needs, operation.owned
        polls = operation.safe and operation.query is not None and "wait" in _names(operation.query)

        async def admitted(request: Request, **arguments: object) -> HTTPResponse | None:
            try:
                caller = caller_of(request)
                check_role(caller, needs)
                await check_owner(self.client, caller, owned, arguments)
            except KhalaError:
                if operation.stream:
                    await drop_body(request)
                raise
            response = await handler(request, **arguments)
            if polls and not await still_holds(request):
                return problem(Failure(status=401, error=Rejected(NO_LONGER)))
            return response

        return admitted


def _names(query: type[Struct]) -> tuple[str, ...]:
    return query.__struct_encode_fields__
