"""What operators do with the cluster as a whole; the judicators do it."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.retention import Answer as Forgot
from khala.protocol.retention import Forget
from khala.protocol.v2 import ProblemCode
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF, problem

_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}


class CollectSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether anything goes. It must be said: what went is gone."""

    #: Only say what would go.
    dry_run: bool


_collects = msgspec.json.Decoder(CollectSpec)


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
        """Remove now what has ended and is not to be kept, as the judicators' settings say, or say
        what would go. After some seconds it is answered with `more`: ask again for the rest."""
        try:
            given = parse_document(_collects, request.body)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        asked = Forget(dry_run=given.dry_run)
        found = await self.client.ask("POST", "/rpc/v1/retention", asked, Forgot)
        return _json(_view(found, dry_run=given.dry_run))


def _view(found: Forgot, *, dry_run: bool) -> v2.Collected:
    keep, gone = found.keep, found.forgotten
    return v2.Collected(
        dry_run=dry_run,
        kept=v2.Kept(age_s=keep.age_s, count=keep.count, size_bytes=keep.size_bytes),
        tasks=gone.tasks,
        jobs=gone.jobs,
        size_bytes=gone.size_bytes,
        oldest=gone.oldest,
        newest=gone.newest,
        needed=gone.needed,
        more=gone.more,
    )


def _json(body: Struct) -> HTTPResponse:
    return HTTPResponse(v2.encode(body), headers=_HEADERS, content_type=JSON)
