"""The RPC of a judicator's settings (`khala.protocol.settings`), and of quotas that are set in the
cluster. The settings are its host's, and what is kept is not for gateways to say; quotas remove
nothing, so they are."""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.net.httpd import Routes
from khala.protocol.quota import SetQuotas
from khala.protocol.settings import JudicatorSettings
from roles.judicator.answers import answer, decode
from roles.judicator.config import ServeConfig
from roles.judicator.quotas_in_force import QuotasInForce

_decode_set = msgspec.msgpack.Decoder(SetQuotas).decode


class SettingsRoutes:
    def __init__(self, config: ServeConfig, in_force: QuotasInForce) -> None:
        self._config, self._in_force = config, in_force

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/rpc/v1/settings", self.show)
        routes.add("GET", "/rpc/v1/quotas", self.show_quotas)
        routes.add("PUT", "/rpc/v1/quotas", self.set_quotas)

    async def show(self, _: Request) -> HTTPResponse:
        settings = JudicatorSettings(
            retention=self._config.retention,
            quotas=self._in_force.of_host,
            audit_s=self._config.audit_life.total_seconds(),
            backups_kept=self._config.backups.kept,
            in_force=self._in_force.now,
            revision=self._in_force.revision,
        )
        return answer(settings)

    async def show_quotas(self, _: Request) -> HTTPResponse:
        return answer(await self._in_force.cluster.load())

    async def set_quotas(self, request: Request) -> HTTPResponse:
        given = decode(_decode_set, request.body)
        changed = await self._in_force.cluster.replace_if_revision(given.revision, given.told)
        return answer(changed)
