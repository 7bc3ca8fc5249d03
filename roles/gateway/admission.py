"""What stands before every operation: whether who asks may do it, to this very object, and that the
audit log knows of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.errors import Forbidden, KhalaError, Rejected
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure, Handler
from roles.gateway.audit import Audit, Ending
from roles.gateway.bodies import drop_body
from roles.gateway.callers import NO_LONGER, Caller, caller_of, check_role, still_holds
from roles.gateway.operations import Operation
from roles.gateway.ownership import check_owner
from roles.gateway.pages import problem


class Admission:
    """Wraps handlers; operations declare what it looks at."""

    def __init__(self, client: JudicatorClient, audit: Audit) -> None:
        self._client = client
        self._audit = audit
        #: Told the role of whoever was refused.
        self.on_refused: Callable[[Role], None] = lambda role: None

    def before(self, handler: Handler, operation: Operation) -> Handler:
        if operation.anyone:
            return handler
        query = operation.query.__struct_encode_fields__ if operation.query is not None else ()
        polls = operation.safe and "wait" in query

        async def admitted(request: Request, **arguments: object) -> HTTPResponse | None:
            try:
                async with self.through(request, operation, arguments) as ending:
                    response = await handler(request, **arguments)
                    ending.status = 200 if response is None else response.status
            except KhalaError:
                if operation.stream:
                    await drop_body(request)
                raise
            if polls and not await still_holds(request):
                return problem(Failure(status=401, error=Rejected(NO_LONGER)))
            return response

        return admitted

    @asynccontextmanager
    async def through(
        self, request: Request, operation: Operation, arguments: Mapping[str, object]
    ) -> AsyncIterator[Ending]:
        """Raise `Forbidden`, or `Unavailable` if nobody can say who asks, or note that they did."""
        caller = caller_of(request)
        await self.admit(request, caller, operation, arguments)
        async with self._audit.around(request, caller, operation, arguments) as ending:
            yield ending

    async def admit(
        self,
        request: Request,
        caller: Caller,
        operation: Operation,
        arguments: Mapping[str, object],
    ) -> None:
        """Raise `Forbidden`, and note that."""
        try:
            check_role(caller, operation.needs)
            await check_owner(self._client, caller, operation.owned, arguments)
        except Forbidden as error:
            self.on_refused(caller.role)
            await self._audit.refuse(request, caller, operation, error)
            raise
