"""`/api/v2/cluster/config`: what its processes were told, as far as it is everybody's, and what is
set in the cluster.

Settings are each host's own, so two judicators may have been told different things, and which one
leads would decide what is kept. That is what this shows: all of them are asked, and what differs is
named. What is set in the cluster holds in the place of these, and can be changed here. A gateway
that could say at once that less is kept could remove everything: judicators let that wait.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct
from msgspec.structs import fields
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.cluster_settings import ClusterSettings
from khala.model.dates import utc_now
from khala.model.errors import Changed, KhalaError, NotFound, NotPossible, Rejected, Unavailable
from khala.model.keeping import ClusterKeeping, Keeping, less_from
from khala.model.quota import Quota, Quotas, ToldQuota
from khala.model.retention import Retention
from khala.model.spec import StageLimits
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.settings import JudicatorSettings, SetSettings
from khala.protocol.v2 import ProblemCode
from roles.gateway.cluster import Cluster
from roles.gateway.config import GatewayConfig, StageDefaults
from roles.gateway.config_patch import ConfigPatch, config_patch_in, patched, too_many_users
from roles.gateway.issues import Invalid
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.spec_patch import MERGE_PATCH
from roles.gateway.v2_patch import tags_in

_ASK_S = 5.0
_SET = "/rpc/v1/settings/cluster"
#: Of a change, where others change something in the same moment.
_TRIES = 10
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}


class ConfigRoutes(Struct, frozen=True, kw_only=True):
    """The handler, and whom it asks."""

    client: JudicatorClient
    cluster: Cluster
    config: GatewayConfig

    @declare(
        Operation(
            method="GET",
            path="/api/v2/cluster/config",
            tag="Cluster",
            answers={200: Answer(v2.ClusterConfig, headers=("ETag",))},
            role=Role.OPERATOR,
        )
    )
    async def get_config(self, _: Request) -> HTTPResponse:
        """What judicators were told to keep and to bound, where they differ, and what this gateway
        lets a task ask for: these settings are changed on their hosts. And what is set in the
        cluster in the place of these, with what is coming; the `ETag` is its."""
        try:
            known = await self._load()
        except KhalaError:  # judicators that are silent, or too old, are named as such
            known = None
        return await self._answer(known)

    @declare(
        Operation(
            method="PATCH",
            path="/api/v2/cluster/config",
            tag="Cluster",
            role=Role.ADMIN,
            act="config.patch",
            noted=("quotas", "keeping"),
            headers=("If-Match",),
            request={JSON: ConfigPatch, MERGE_PATCH: ConfigPatch},
            answers={200: Answer(v2.ClusterConfig, headers=("ETag",))},
            problems=(
                ProblemCode.VALIDATION_FAILED,
                ProblemCode.PRECONDITION_FAILED,
                ProblemCode.NOT_POSSIBLE,
            ),
        )
    )
    async def patch_config(self, request: Request) -> HTTPResponse:
        """Set in the cluster, in the place of what judicators were told, the quotas of everybody or
        of single users, and what is kept. Judicators go by it within two seconds, without a
        restart; but what keeps less than before begins a day later, at `keeping.less_from`."""
        try:
            patch = config_patch_in(request.body)
            return await self._answer(await self._patch(patch, request.headers.get("if-match")))
        except Invalid as error:
            return problem(Failure(status=422, error=error))

    async def _patch(self, patch: ConfigPatch, expected: str | None) -> ClusterSettings:
        """Somebody else's change in the same moment is kept, unless none is expected."""
        tags = tags_in(expected) if expected is not None else None
        for _ in range(_TRIES):
            known = await self._load()
            if tags is not None and str(known.revision) not in tags:
                raise Changed(
                    f'If-Match: the tag of what is set is "{known.revision}" now; it has changed',
                    field="If-Match",
                )
            quotas, keeping = patched(known, patch)
            if (quotas, keeping) == (known.quotas, known.keeping.told):
                return known
            try:
                asked = SetSettings(revision=known.revision, quotas=quotas, keeping=keeping)
                return await self.client.ask("PUT", _SET, asked, ClusterSettings)
            except Changed:
                continue
            except Rejected as error:
                if error.field != "/quotas/users":
                    raise
                raise too_many_users(error, len(quotas.users)) from error
        raise Unavailable(f"others have changed what is set {_TRIES} times meanwhile; repeat it")

    async def _load(self) -> ClusterSettings:
        try:
            return await self.client.ask("GET", _SET, None, ClusterSettings)
        except NotFound:
            raise NotPossible(
                "the judicators are older than settings of the cluster; renew them, or set the"
                " options of each: --quota-*, --retention-*, --audit-days, --backups-kept"
            ) from None

    async def _answer(self, known: ClusterSettings | None) -> HTTPResponse:
        seen = await self.cluster.view()
        records = [each.record for each in seen.judicators]
        answers = await asyncio.gather(*(self._settings_of(each.address) for each in records))
        pairs = list(zip((each.name for each in records), answers, strict=True))
        told = {name: settings for name, settings in pairs if settings is not None}
        silent = [name for name, settings in pairs if settings is None]
        body = v2.ClusterConfig(
            quotas=None if known is None else _view_set(known),
            keeping=None if known is None else _view_kept(known.keeping, list(told.values())),
            judicators=[_view(name, settings) for name, settings in told.items()],
            differing=differing(list(told.values())),
            unreachable=sorted({*silent, *seen.missing}),
            gateway=_view_gateway(self.config),
        )
        tag = {} if known is None else {"ETag": f'"{known.revision}"'}
        return HTTPResponse(v2.encode(body), headers=_HEADERS | tag, content_type=JSON)

    async def _settings_of(self, address: str) -> JudicatorSettings | None:
        """None of one that does not answer, or is too old to."""
        path = "/rpc/v1/settings"
        try:
            return await self.client.ask_at(
                address, "GET", path, JudicatorSettings, within_s=_ASK_S
            )
        except KhalaError:
            return None


def differing(told: list[JudicatorSettings]) -> list[str]:
    """The settings that were not given to all alike; what follows from them is no setting."""
    first = told[0] if told else None
    return [
        each.name
        for each in fields(JudicatorSettings)
        if each.required
        and any(getattr(one, each.name) != getattr(first, each.name) for one in told)
    ]


def _view(name: str, told: JudicatorSettings) -> v2.JudicatorConfig:
    return v2.JudicatorConfig(
        name=name,
        retention=_view_retention(told.retention),
        quotas=v2.QuotaConfig(
            default=_view_quota(told.quotas.default), users=_view_users(told.quotas)
        ),
        audit_s=told.audit_s,
        backups_kept=told.backups_kept,
        in_force=_view_in_force(told),
        keeping=_view_keeping(told.keeping),
    )


def _view_retention(kept: Retention) -> v2.Keeping:
    return v2.Keeping(age_s=kept.age_s, count=kept.count, size_bytes=kept.size_bytes)


def _view_keeping(kept: Keeping | None) -> v2.KeepingInForce | None:
    if kept is None:
        return None
    return v2.KeepingInForce(
        retention=_view_retention(kept.retention),
        audit_s=kept.audit_s,
        backups_kept=kept.backups_kept,
    )


def _view_in_force(told: JudicatorSettings) -> v2.QuotasInForce | None:
    if told.in_force is None:
        return None
    return v2.QuotasInForce(
        revision=told.revision,
        default=_view_quota(told.in_force.default),
        users=_view_users(told.in_force),
    )


def _view_users(quotas: Quotas) -> dict[str, v2.QuotaBounds]:
    return {str(user): _view_quota(each) for user, each in sorted(quotas.users.items())}


def _view_set(known: ClusterSettings) -> v2.ClusterQuotas:
    return v2.ClusterQuotas(
        revision=known.revision,
        default=_view_told(known.quotas.default),
        users={str(user): _view_told(each) for user, each in sorted(known.quotas.users.items())},
    )


def _view_kept(known: ClusterKeeping, judicators: list[JudicatorSettings]) -> v2.ClusterKeeping:
    told, now = known.told, utc_now()
    hosts = [
        Keeping(retention=each.retention, audit_s=each.audit_s, backups_kept=each.backups_kept)
        for each in judicators
    ]
    dates = (less_from(each, known, now) for each in hosts)
    return v2.ClusterKeeping(
        retention=v2.SetRetention(
            age_s=told.retention.age_s,
            count=told.retention.count,
            size_bytes=told.retention.size_bytes,
        ),
        audit_s=told.audit_s,
        backups_kept=told.backups_kept,
        changed_at=known.changed_at,
        less_from=min((each for each in dates if each is not None), default=None),
    )


def _view_told(quota: ToldQuota) -> v2.SetBounds:
    return v2.SetBounds(
        queued=quota.queued,
        running=quota.running,
        cpu_s=quota.cpu_s,
        stored_bytes=quota.size_bytes,
    )


def _view_quota(quota: Quota) -> v2.QuotaBounds:
    return v2.QuotaBounds(
        queued=quota.queued,
        running=quota.running,
        cpu_s=quota.cpu_s,
        stored_bytes=quota.size_bytes,
    )


def _view_gateway(config: GatewayConfig) -> v2.GatewayConfig:
    def default(stage: StageDefaults) -> StageLimits:
        return stage.with_timeout(0, config.maxima.wall_ms)

    rate = config.request_rate
    return v2.GatewayConfig(
        compile=default(config.compile),
        execute=default(config.execute),
        maxima=config.maxima,
        max_body_bytes=config.max_body_bytes,
        max_blob_bytes=config.max_blob_bytes,
        users_only=config.users_only,
        legacy_api=config.legacy_api,
        requests_per_second=rate.per_second if rate else None,
        request_burst=rate.burst if rate else None,
    )
