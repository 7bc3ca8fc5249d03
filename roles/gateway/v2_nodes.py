"""Operators' calls on one executor: no new work, be empty by then, work again.

What is asked is the judicators' to store and to do; `khala.pex cordon` and its kin ask the same
without a gateway. Whoever may submit here may do this too: the gateway knows one token.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.config.values import Kind
from khala.model.ids import check_name
from khala.model.limits import CORDON_REASON_CHARS, DRAIN_MAX_S
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.nodes import NodeLoad, SetCordon
from khala.protocol.v2 import ProblemCode
from roles.gateway.bounds import within
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid, Issues
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.spec_limits import check_range, parse_amount

_CORDON = "/api/v2/nodes/<name:str>/cordon"
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
Reason = Annotated[str, Meta(max_length=CORDON_REASON_CHARS)]
_PROBLEMS = (ProblemCode.NOT_FOUND, ProblemCode.VALIDATION_FAILED)


class CordonSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an executor gets no new work."""

    #: For whoever wonders; shown with the node.
    reason: Reason = ""


class DrainSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By when an executor should be empty."""

    #: For whoever wonders; shown with the node.
    reason: Reason = ""
    #: Seconds, or a text like `15m`, from now; what runs there then runs again elsewhere.
    deadline: Annotated[float, within(0, DRAIN_MAX_S)] | str = "15m"


_cordons = msgspec.json.Decoder(CordonSpec)
_drains = msgspec.json.Decoder(DrainSpec)


class NodeActs(Struct, frozen=True, kw_only=True):
    """The handlers, and whom they ask."""

    client: JudicatorClient

    @declare(
        Operation(
            method="POST",
            path=_CORDON,
            tag="Cluster",
            request={JSON: CordonSpec},
            body_optional=True,
            answers={200: Answer(v2.NodeWork)},
            problems=_PROBLEMS,
        )
    )
    async def cordon_node(self, request: Request, name: str) -> HTTPResponse:
        """Let an executor have no new work, until that is taken back; what it runs goes on."""
        try:
            given = parse_document(_cordons, request.body) if request.body else CordonSpec()
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        return await self._set(name, SetCordon(reason=given.reason))

    @declare(
        Operation(
            method="POST",
            path="/api/v2/nodes/<name:str>/drain",
            tag="Cluster",
            request={JSON: DrainSpec},
            body_optional=True,
            answers={200: Answer(v2.NodeWork)},
            problems=_PROBLEMS,
        )
    )
    async def drain_node(self, request: Request, name: str) -> HTTPResponse:
        """Let an executor have no new work and be empty at the deadline: what still runs there then
        runs again elsewhere. It is answered at once; `GET .../cordon` tells when it is empty."""
        try:
            given = parse_document(_drains, request.body) if request.body else DrainSpec()
            deadline_s = _deadline_of(given)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        return await self._set(name, SetCordon(reason=given.reason, deadline_s=deadline_s))

    @declare(
        Operation(
            method="GET",
            path=_CORDON,
            tag="Cluster",
            answers={200: Answer(v2.NodeWork)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def get_cordon(self, _: Request, name: str) -> HTTPResponse:
        """Whether an executor gets work, and how many tasks it still has."""
        return await self._ask("GET", f"/rpc/v1/nodes/{check_name(name)}", None)

    @declare(
        Operation(
            method="DELETE",
            path=_CORDON,
            tag="Cluster",
            answers={200: Answer(v2.NodeWork)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def uncordon_node(self, _: Request, name: str) -> HTTPResponse:
        """Let an executor have work again."""
        return await self._ask("DELETE", f"/rpc/v1/nodes/{check_name(name)}/cordon", None)

    async def _set(self, name: str, cordon: SetCordon) -> HTTPResponse:
        return await self._ask("POST", f"/rpc/v1/nodes/{check_name(name)}/cordon", cordon)

    async def _ask(self, method: str, path: str, body: Struct | None) -> HTTPResponse:
        load = await self.client.ask(method, path, body, NodeLoad)
        work = v2.NodeWork(name=load.record.name, running=load.running, cordon=load.record.cordon)
        return HTTPResponse(v2.encode(work), headers=_HEADERS, content_type=JSON)


def _deadline_of(given: DrainSpec) -> float:
    """In seconds. Raise `Invalid`."""
    issues = Issues()
    seconds = parse_amount(Kind.SECONDS, given.deadline, "/deadline", issues)
    if seconds is not None:
        check_range(seconds, 0, DRAIN_MAX_S, "/deadline", issues)
    issues.raise_if_any()
    return seconds or 0.0
