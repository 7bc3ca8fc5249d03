"""`GET /api/v2/cluster/config`: what its processes were told, as far as it is everybody's.

Settings are each host's own, so two judicators may have been told different things, and which one
leads would decide what is kept. That is what this shows: all of them are asked, and what differs is
named. It changes nothing. A gateway that could say what is kept could remove everything.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct
from msgspec.structs import fields
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.errors import KhalaError
from khala.model.quota import Quota
from khala.model.spec import StageLimits
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.settings import JudicatorSettings
from roles.gateway.cluster import Cluster
from roles.gateway.config import GatewayConfig, StageDefaults
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF

_ASK_S = 5.0
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
            answers={200: Answer(v2.ClusterConfig)},
            role=Role.OPERATOR,
        )
    )
    async def get_config(self, _: Request) -> HTTPResponse:
        """What judicators were told to keep and to bound, where they differ, and what this gateway
        lets a task ask for. Settings are changed on their hosts."""
        seen = await self.cluster.view()
        records = [each.record for each in seen.judicators]
        answers = await asyncio.gather(*(self._settings_of(each.address) for each in records))
        pairs = list(zip((each.name for each in records), answers, strict=True))
        told = [_view(name, settings) for name, settings in pairs if settings is not None]
        silent = [name for name, settings in pairs if settings is None]
        body = v2.ClusterConfig(
            judicators=told,
            differing=differing([settings for settings in answers if settings is not None]),
            unreachable=sorted({*silent, *seen.missing}),
            gateway=_view_gateway(self.config),
        )
        return HTTPResponse(v2.encode(body), headers=_HEADERS, content_type=JSON)

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
    """The settings that were not given to all alike."""
    first = told[0] if told else None
    return [
        each.name
        for each in fields(JudicatorSettings)
        if any(getattr(other, each.name) != getattr(first, each.name) for other in told)
    ]


def _view(name: str, told: JudicatorSettings) -> v2.JudicatorConfig:
    return v2.JudicatorConfig(
        name=name,
        retention=v2.Keeping(
            age_s=told.retention.age_s,
            count=told.retention.count,
            size_bytes=told.retention.size_bytes,
        ),
        quotas=v2.QuotaConfig(
            default=_view_quota(told.quotas.default),
            users={
                str(user): _view_quota(each) for user, each in sorted(told.quotas.users.items())
            },
        ),
        audit_s=told.audit_s,
        backups_kept=told.backups_kept,
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
