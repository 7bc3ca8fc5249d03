"""One node: what it is, and operators' calls on it: no new work, be empty by then, work again.

What is asked is the judicators' to store and to do; `khala.pex cordon` and its kin ask the same
without a gateway.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace
from sanic import Request
from sanic.response import HTTPResponse

from khala.config.values import Kind
from khala.model.access import Role
from khala.model.errors import NotFound, NotPossible
from khala.model.ids import check_name
from khala.model.limits import CORDON_REASON_CHARS, DRAIN_MAX_S
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import doctor as rpc
from khala.protocol import v2
from khala.protocol.nodes import NodeLoad, SetCordon
from khala.protocol.v2 import ProblemCode
from roles.gateway.bounds import within
from roles.gateway.cluster import Cluster
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid, Issues
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.spec_limits import read_amount
from roles.gateway.v2_view import view_nodes

_NODE = "/api/v2/nodes/<name:str>"
_CORDON = f"{_NODE}/cordon"
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
    cluster: Cluster

    @declare(
        Operation(
            method="GET",
            path=_NODE,
            tag="Cluster",
            answers={200: Answer(v2.Node)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def get_node(self, _: Request, name: str) -> HTTPResponse:
        """Show one executor or judicator, as the list does; and how many tasks it has."""
        node = await self._find(name)
        if node.executor is not None:
            node = replace(node, running=(await self._load(name)).running)
        return _json(node)

    @declare(
        Operation(
            method="GET",
            path=f"{_NODE}/doctor",
            tag="Cluster",
            answers={200: Answer(v2.Examinations)},
            problems=(ProblemCode.NOT_FOUND, ProblemCode.FORBIDDEN),
            role=Role.OPERATOR,
        )
    )
    async def examine_node(self, _: Request, name: str) -> HTTPResponse:
        """What a node's host lacks for its roles, and what repairs it. Each role looks soon after
        it began and then every hour; `khala.pex doctor` on the host looks at once."""
        await self._find(name)
        path = f"{_rpc_path(name)}/doctor"
        found = await self.client.ask("GET", path, None, rpc.Examinations)
        return _json(v2.Examinations(items=[_view(each) for each in found.items]))

    @declare(
        Operation(
            method="DELETE",
            path=_NODE,
            tag="Cluster",
            answers={204: Answer(content="")},
            problems=(ProblemCode.NOT_FOUND, ProblemCode.NOT_POSSIBLE),
            role=Role.OPERATOR,
            act="node.forget",
        )
    )
    async def forget_node(self, _: Request, name: str) -> HTTPResponse:
        """Let an executor that is lost not be listed any more; a week after its loss that happens
        by itself. Should it come back, it is listed again."""
        seen = view_nodes(await self.cluster.view())
        if any(each.name == name for each in seen.judicators) and not any(
            each.name == name for each in seen.executors
        ):
            raise NotPossible(
                f"{name} is a judicator; one leaves by `khala.pex leave` on its host, or by"
                f" `khala.pex cluster remove {name}` on another judicator's"
            )
        await self.client.ask("DELETE", _rpc_path(name), None, NodeLoad)
        self.cluster.outdate()
        return HTTPResponse(None, status=204, headers=_HEADERS)

    @declare(
        Operation(
            method="POST",
            path=_CORDON,
            role=Role.OPERATOR,
            act="node.cordon",
            noted=("reason",),
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
        return await self._change("POST", name, SetCordon(reason=given.reason))

    @declare(
        Operation(
            method="POST",
            path=f"{_NODE}/drain",
            role=Role.OPERATOR,
            act="node.drain",
            noted=("reason", "deadline"),
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
        cordon = SetCordon(reason=given.reason, deadline_s=deadline_s)
        return await self._change("POST", name, cordon)

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
        return _work(await self._load(name))

    @declare(
        Operation(
            method="DELETE",
            path=_CORDON,
            role=Role.OPERATOR,
            act="node.uncordon",
            tag="Cluster",
            answers={200: Answer(v2.NodeWork)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def uncordon_node(self, _: Request, name: str) -> HTTPResponse:
        """Let an executor have work again."""
        return await self._change("DELETE", name, None)

    async def _find(self, name: str) -> v2.Node:
        """Without its load. Raise `NotFound`."""
        found = view_nodes(await self.cluster.view())
        executor = next((each for each in found.executors if each.name == name), None)
        judicator = next((each for each in found.judicators if each.name == name), None)
        if executor is None and judicator is None:
            raise NotFound(f"there is no node {name[:80]!r}; /api/v2/nodes lists them")
        return v2.Node(name=name, executor=executor, running=0, judicator=judicator)

    async def _load(self, name: str) -> NodeLoad:
        return await self.client.ask("GET", _rpc_path(name), None, NodeLoad)

    async def _change(self, method: str, name: str, cordon: SetCordon | None) -> HTTPResponse:
        load = await self.client.ask(method, f"{_rpc_path(name)}/cordon", cordon, NodeLoad)
        self.cluster.outdate()
        return _work(load)


def _rpc_path(name: str) -> str:
    return f"/rpc/v1/nodes/{check_name(name)}"


def _work(load: NodeLoad) -> HTTPResponse:
    record = load.record
    return _json(v2.NodeWork(name=record.name, running=load.running, cordon=record.cordon))


def _view(given: rpc.Examination) -> v2.Examination:
    findings = [
        v2.Finding(check=line.check, level=line.level, found=line.found, repair=line.repair)
        for line in given.report.lines
    ]
    return v2.Examination(
        role=given.role, at=v2.stamp(given.at), able=given.report.able, findings=findings
    )


def _json(body: Struct) -> HTTPResponse:
    return HTTPResponse(v2.encode(body), headers=_HEADERS, content_type=JSON)


def _deadline_of(given: DrainSpec) -> float:
    """In seconds. Raise `Invalid`."""
    issues = Issues()
    seconds = read_amount(Kind.SECONDS, given.deadline, (0, DRAIN_MAX_S), "/deadline", issues)
    issues.raise_if_any()
    return seconds or 0.0
