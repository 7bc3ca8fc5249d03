"""What each address of the second API takes and answers, declared beside the handler that does it.

The declaration is what the OpenAPI document is made of, and it is what registers the handler, so
no route can be served that the document does not have. That the handlers answer as declared is
the tests' to see: those of this role and of the whole stack look at every answer they get.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.errors import Rejected
from khala.net.httpd import Failure, Handler, Routes
from khala.protocol.v2.problems import PROBLEMS, ProblemCode
from roles.gateway.bodies import drop_body
from roles.gateway.media import fault_of_type
from roles.gateway.ownership import Owned
from roles.gateway.pages import problem
from roles.gateway.queries import TICKET

#: Whatever msgspec can describe: a Struct, a list of them, an annotated scalar.
Described: TypeAlias = Any

JSON = "application/json"
#: What any document of a task may be refused for.
SUBMITTING = (
    ProblemCode.QUOTA_EXCEEDED,
    ProblemCode.VALIDATION_FAILED,
    ProblemCode.NO_SUCH_IMAGE,
    ProblemCode.NO_NETWORK_OFFERED,
    ProblemCode.NO_SUCH_BLOB,
    ProblemCode.NO_SUCH_TASK,
    ProblemCode.IDEMPOTENCY_MISMATCH,
)


class Answer(Struct, frozen=True):
    """One status: the type of its body and the headers that come with it, by names that
    `roles.gateway.openapi` describes."""

    #: None: bytes of `content`, or no body at all. A tuple: one of these.
    body: Described = None
    content: str = JSON
    headers: tuple[str, ...] = ()
    #: The same in other forms, for those that ask for them with `Accept`; as `body`, by `content`.
    others: Mapping[str, Described] = {}


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one address."""

    method: str
    #: As the router writes it: `/api/v2/tasks/<task_id:str>`.
    path: str
    #: A heading of the document.
    tag: str
    answers: Mapping[int, Answer]
    #: A Struct; its fields are the query's parameters. None: it takes none.
    query: type[Struct] | None = None
    #: Of the request, by names that are described once for all addresses.
    headers: tuple[str, ...] = ()
    #: The body by its content type; a Struct, or None for bytes.
    request: Mapping[str, Described] = {}
    body_optional: bool = False
    #: Beyond those that any request may meet.
    problems: tuple[ProblemCode, ...] = ()
    #: The handler reads and bounds the body itself.
    stream: bool = False
    #: Who may. None: viewers what is safe, submitters what is not.
    role: Role | None = None
    #: Whose what it changes must be, of who is no operator.
    owned: Owned = Owned.NOTHING
    #: It is how one becomes known, or ceases to be: nobody is asked for who they are.
    anyone: bool = False
    #: The audit log's word for it: `node.drain`. None: it is not kept there.
    act: str | None = None
    #: What of its document stands in the log, never a secret.
    noted: tuple[str, ...] = ()

    @property
    def safe(self) -> bool:
        return self.method == "GET"

    @property
    def needs(self) -> Role:
        """The least role that may."""
        return self.role or (Role.VIEWER if self.safe else Role.SUBMITTER)

    @property
    def document_types(self) -> tuple[str, ...]:
        """Of a body that is a document. Bytes are taken whatever their sender calls them."""
        return tuple(kind for kind, body in self.request.items() if body is not None)

    @property
    def all_problems(self) -> tuple[ProblemCode, ...]:
        everywhere = _ANYWHERE if self.safe else (*_ANYWHERE, *_CHANGES)
        if self.needs is not Role.VIEWER:
            everywhere = (*everywhere, ProblemCode.FORBIDDEN)
        types = (ProblemCode.UNSUPPORTED_MEDIA_TYPE,) if self.document_types else ()
        return tuple(dict.fromkeys((*everywhere, *types, *self.problems)))

    @property
    def statuses(self) -> set[int]:
        return {*self.answers, *(PROBLEMS[code].status for code in self.all_problems)}


#: What any request may meet: before its handler, or because nobody is there to answer it.
_ANYWHERE = (
    ProblemCode.INVALID_REQUEST,
    ProblemCode.UNAUTHENTICATED,
    ProblemCode.TOO_LARGE,
    ProblemCode.MISDIRECTED_REQUEST,
    ProblemCode.RATE_LIMITED,
    ProblemCode.INTERNAL,
    ProblemCode.UNAVAILABLE,
)
_CHANGES = (ProblemCode.FORBIDDEN, ProblemCode.OUTCOME_UNKNOWN)

_declared: dict[Handler, Operation] = {}


def declare(operation: Operation) -> Callable[[Handler], Handler]:
    """Decorates the method of a class whose objects are given to `register`."""

    def keep(handler: Handler) -> Handler:
        _declared[handler] = operation
        return handler

    return keep


class Declared(Struct, frozen=True, kw_only=True):
    """An operation, and what its handler says of it."""

    operation: Operation
    name: str
    #: The handler's docstring.
    text: str


def declared_by(kinds: Iterable[type]) -> list[Declared]:
    """All operations of these classes, in the order of their definition."""
    return [
        Declared(
            operation=_declared[handler], name=name, text=" ".join((handler.__doc__ or "").split())
        )
        for kind in kinds
        for name, handler in vars(kind).items()
        if callable(handler) and handler in _declared
    ]


#: Puts what is to be asked of every request before its handler.
Before: TypeAlias = Callable[[Handler, Operation], Handler]


def register(routes: Routes, handlers: object, before: Before) -> None:
    """Serve every operation that the class of `handlers` declares."""
    for each in declared_by([type(handlers)]):
        operation = each.operation
        handler = before(_strict(getattr(handlers, each.name), operation), operation)
        routes.add(operation.method, operation.path, handler, stream=operation.stream)


def _strict(handler: Handler, operation: Operation) -> Handler:
    """What was not declared is refused before the handler sees it."""
    fields = operation.query.__struct_encode_fields__ if operation.query else ()
    known = frozenset((*fields, TICKET) if operation.safe else fields)
    types = operation.document_types

    async def checked(request: Request, **arguments: object) -> HTTPResponse | None:
        refused = _fault_of_parameters(request, known, fields)
        status = 400
        if refused is None and types:
            refused, status = fault_of_type(request, types), 415
        if refused is None:
            return await handler(request, **arguments)
        if operation.stream:
            await drop_body(request)
        return problem(Failure(status=status, error=refused))

    return checked


def _fault_of_parameters(
    request: Request, known: Container[str], fields: Sequence[str]
) -> Rejected | None:
    """A typing error must not pass for "no filter"."""
    if not request.query_string:
        return None
    for name, values in request.get_args(keep_blank_values=True).items():
        if name not in known:
            there = ", ".join(fields) or "none"
            return Rejected(f"{name[:40]}: no such parameter; there are: {there}", field=name[:40])
        if len(values) > 1:
            times = f"it is given {len(values)} times and can be once"
            return Rejected(f"{name}: {times}; several values have commas between them", field=name)
    return None
