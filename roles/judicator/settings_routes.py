"""The RPC of a judicator's settings (`khala.protocol.settings`). Nobody changes them by it: they
are its host's, and what is kept is not for gateways to say."""

from __future__ import annotations

from sanic import Request
from sanic.response import HTTPResponse

from khala.net.httpd import Routes
from khala.protocol.settings import JudicatorSettings
from roles.judicator.answers import answer
from roles.judicator.config import ServeConfig


class SettingsRoutes:
    def __init__(self, config: ServeConfig) -> None:
        self._settings = JudicatorSettings(
            retention=config.retention,
            quotas=config.quotas,
            audit_s=config.audit_life.total_seconds(),
            backups_kept=config.backups.kept,
        )

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/rpc/v1/settings", self.show)

    async def show(self, _: Request) -> HTTPResponse:
        return answer(self._settings)
