"""The RPC of a judicator's settings, and of what is set in the cluster (`khala.protocol.settings`).
The settings are its host's. What is set in the cluster gateways may say, also of what is kept:
where it is less, the store has it wait for a day, whatever a gateway says."""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.config.keeping import check_keeping
from khala.net.httpd import Routes
from khala.protocol.settings import JudicatorSettings, SetSettings
from roles.judicator.answers import answer, decode
from roles.judicator.settings_in_force import SettingsInForce

_decode_set = msgspec.msgpack.Decoder(SetSettings).decode


class SettingsRoutes:
    def __init__(self, in_force: SettingsInForce) -> None:
        self._in_force = in_force

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/rpc/v1/settings", self.show)
        routes.add("GET", "/rpc/v1/settings/cluster", self.show_set)
        routes.add("PUT", "/rpc/v1/settings/cluster", self.set)

    async def show(self, _: Request) -> HTTPResponse:
        quotas, keeping = self._in_force.quotas, self._in_force.keeping
        settings = JudicatorSettings(
            retention=keeping.of_host.retention,
            quotas=quotas.of_host,
            audit_s=keeping.of_host.audit_s,
            backups_kept=keeping.of_host.backups_kept,
            in_force=quotas.now,
            revision=quotas.revision,
            keeping=keeping.now,
        )
        return answer(settings)

    async def show_set(self, _: Request) -> HTTPResponse:
        return answer(await self._in_force.cluster.load())

    async def set(self, request: Request) -> HTTPResponse:
        given = decode(_decode_set, request.body)
        check_keeping(given.keeping)
        changed = await self._in_force.cluster.replace_if_revision(
            given.revision, given.quotas, given.keeping
        )
        return answer(changed)
