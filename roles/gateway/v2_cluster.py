"""What operators do with the cluster as a whole; the judicators do it."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.ids import JudicatorName
from khala.model.limits import TRANSFER_S
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.leadership import Transfer, Transferred
from khala.protocol.retention import Answer as Forgot
from khala.protocol.retention import Forget
from khala.protocol.v2 import ProblemCode
from roles.gateway.documents import parse_document
from roles.gateway.filters import NodeName
from roles.gateway.issues import Invalid
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF, problem

#: On top of what the judicator takes at most.
_ANSWER_S = 5.0
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}


class CollectSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether anything goes. It must be said: what went is gone."""

    #: Only say what would go.
    dry_run: bool


class TransferSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is to lead."""

    #: A judicator, by its name among the nodes; null: any but the one that leads.
    to: NodeName | None = None


_collects = msgspec.json.Decoder(CollectSpec)
_transfers = msgspec.json.Decoder(TransferSpec)


class ClusterActs(Struct, frozen=True, kw_only=True):
    """The handlers, and whom they ask."""

    client: JudicatorClient

    @declare(
        Operation(
            method="POST",
            path="/api/v2/gc",
            tag="Cluster",
            request={JSON: CollectSpec},
            answers={200: Answer(v2.Collected)},
            problems=(ProblemCode.VALIDATION_FAILED, ProblemCode.NOT_POSSIBLE),
            role=Role.OPERATOR,
            act="cluster.gc",
        )
    )
    async def collect(self, request: Request) -> HTTPResponse:
        """Remove now what has ended and is not to be kept, as is in force, or say
        what would go. After some seconds it is answered with `more`: ask again for the rest."""
        try:
            given = parse_document(_collects, request.body)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        asked = Forget(dry_run=given.dry_run)
        found = await self.client.ask("POST", "/rpc/v1/retention", asked, Forgot)
        return _json(_view(found, dry_run=given.dry_run))

    @declare(
        Operation(
            method="POST",
            path="/api/v2/cluster/transfer-leadership",
            tag="Cluster",
            request={JSON: TransferSpec},
            body_optional=True,
            answers={200: Answer(v2.Transferred)},
            problems=(
                ProblemCode.NOT_FOUND,
                ProblemCode.VALIDATION_FAILED,
                ProblemCode.NOT_POSSIBLE,
            ),
            role=Role.OPERATOR,
            act="cluster.transfer_leadership",
        )
    )
    async def transfer_leadership(self, request: Request) -> HTTPResponse:
        """Let another judicator do the cluster's chores. Tasks go on meanwhile; the one that leads
        lets go only when the other one has said that it is ready. It is answered when that one
        leads."""
        try:
            given = parse_document(_transfers, request.body) if request.body else TransferSpec()
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        moved = await self.client.ask(
            "POST",
            "/rpc/v1/leadership",
            Transfer(to=None if given.to is None else JudicatorName(given.to)),
            Transferred,
            within_s=TRANSFER_S + _ANSWER_S,
        )
        return _json(v2.Transferred(leader=moved.leader, before=moved.before))


def _view(found: Forgot, *, dry_run: bool) -> v2.Collected:
    keep, gone = found.keep, found.forgotten
    return v2.Collected(
        dry_run=dry_run,
        kept=v2.Kept(age_s=keep.age_s, count=keep.count, size_bytes=keep.size_bytes),
        tasks=gone.tasks,
        jobs=gone.jobs,
        size_bytes=gone.size_bytes,
        own=gone.own,
        oldest=gone.oldest,
        newest=gone.newest,
        needed=gone.needed,
        more=gone.more,
    )


def _json(body: Struct) -> HTTPResponse:
    return HTTPResponse(v2.encode(body), headers=_HEADERS, content_type=JSON)
