"""What operators ask of a judicator, by its double: tokens in a dictionary, and what was asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.cluster_settings import ClusterSettings
from khala.model.dates import utc_now
from khala.model.errors import Changed, NotFound, Rejected
from khala.model.ids import JudicatorName
from khala.model.keeping import Keeping, replaced
from khala.model.limits import QUOTA_USERS
from khala.model.quota import Quota, Quotas
from khala.model.retention import Forgotten, Retention
from khala.net.httpd import Routes
from khala.protocol.backups import Backup, Backups, BackupState
from khala.protocol.doctor import Examination, Examinations
from khala.protocol.joining import MakeToken, TokenList, TokenMade, TokenRecord
from khala.protocol.leadership import Transfer, Transferred
from khala.protocol.retention import Answer, Forget
from khala.protocol.settings import JudicatorSettings, SetSettings

ARCHIVE = b"everything that there is"
AT = datetime(2026, 11, 24, tzinfo=UTC)
SETTINGS = JudicatorSettings(
    retention=Retention(age_s=3600.0),
    quotas=Quotas(default=Quota(queued=10), users={7: Quota(cpu_s=60)}),
    audit_s=86400.0,
    backups_kept=7,
    in_force=Quotas(default=Quota(queued=500)),
    revision=2,
    keeping=Keeping(retention=Retention(age_s=7200.0), audit_s=86400.0, backups_kept=9),
)


class OperationsDouble:
    """A part of `JudicatorDouble`."""

    def __init__(self, routes: Routes) -> None:
        self.keep = Retention()
        self.forgets: list[Forget] = []
        self.tokens: dict[str, TokenRecord] = {}
        routes.add("POST", "/rpc/v1/retention", self.forget)
        self.leader = JudicatorName("a")
        routes.add("POST", "/rpc/v1/leadership", self.transfer)
        routes.add("POST", "/rpc/v1/tokens", self.make_token)
        routes.add("GET", "/rpc/v1/tokens", self.list_tokens)
        routes.add("DELETE", "/rpc/v1/tokens/<token:str>", self.revoke_token)

        self.examinations: dict[str, list[Examination]] = {}
        routes.add("GET", "/rpc/v1/nodes/<name:str>/doctor", self.show_examinations)
        self.settings = SETTINGS
        routes.add("GET", "/rpc/v1/settings", self.show_settings)
        #: What is set in the cluster; `hastened`: by others, at the next moments.
        self.set = ClusterSettings()
        self.hastened = 0
        routes.add("GET", "/rpc/v1/settings/cluster", self.show_set)
        routes.add("PUT", "/rpc/v1/settings/cluster", self.change_set)
        self.backups: dict[str, Backup] = {}
        one = "/rpc/v1/backups/<backup:str>"
        routes.add("GET", "/rpc/v1/backups", self.list_backups)
        routes.add("POST", "/rpc/v1/backups", self.create_backup)
        routes.add("POST", f"{one}/verify", self.verify_backup)
        routes.add("DELETE", one, self.remove_backup)
        routes.add("GET", f"{one}/archive", self.read_backup)

    async def show_settings(self, _: Request) -> HTTPResponse:
        return _answer(self.settings)

    async def show_set(self, _: Request) -> HTTPResponse:
        shown = self.set
        if self.hastened:
            self.hastened -= 1
            self.set = msgspec.structs.replace(shown, revision=shown.revision + 1)
        return _answer(shown)

    async def change_set(self, request: Request) -> HTTPResponse:
        asked = msgspec.msgpack.decode(request.body, type=SetSettings)
        if asked.revision != self.set.revision:
            raise Changed
        if len(asked.quotas.users) > QUOTA_USERS:
            raise Rejected("too many users", field="/quotas/users")
        self.set = ClusterSettings(
            revision=asked.revision + 1,
            quotas=asked.quotas,
            keeping=replaced(self.set.keeping, asked.keeping, utc_now()),
        )
        return _answer(self.set)

    async def show_examinations(self, _: Request, name: str) -> HTTPResponse:
        return _answer(Examinations(items=self.examinations.get(name, [])))

    async def list_backups(self, _: Request) -> HTTPResponse:
        return _answer(Backups(items=list(self.backups.values())))

    async def create_backup(self, _: Request) -> HTTPResponse:
        made = Backup(
            id=f"{len(self.backups):016x}",
            judicator=JudicatorName("judicator"),
            state=BackupState.RUNNING,
            created_at=AT + timedelta(seconds=len(self.backups)),
        )
        self.backups[made.id] = made
        return _answer(made)

    def finish_backup(self, backup: str) -> None:
        self.backups[backup] = msgspec.structs.replace(
            self.backups[backup], state=BackupState.DONE, size_bytes=len(ARCHIVE), tasks=3
        )

    async def verify_backup(self, _: Request, backup: str) -> HTTPResponse:
        return _answer(msgspec.structs.replace(self.backups[backup], verifying=True))

    async def remove_backup(self, _: Request, backup: str) -> HTTPResponse:
        return _answer(self.backups.pop(backup))

    async def read_backup(self, request: Request, backup: str) -> HTTPResponse:
        first, size = (int(request.args[name][0]) for name in ("first", "size"))
        return HTTPResponse(ARCHIVE[first : first + size])

    async def forget(self, request: Request) -> HTTPResponse:
        asked = msgspec.msgpack.decode(request.body, type=Forget)
        self.forgets.append(asked)
        gone = Forgotten(tasks=3, jobs=1, size_bytes=100, oldest=AT, newest=AT, needed=2, more=True)
        return _answer(Answer(keep=self.keep, forgotten=gone))

    async def transfer(self, request: Request) -> HTTPResponse:
        asked = msgspec.msgpack.decode(request.body, type=Transfer)
        if asked.to not in (None, "a", "b"):
            raise NotFound(f"there is no judicator {asked.to!r}; there are: a, b")
        before, self.leader = self.leader, asked.to or JudicatorName("b")
        return _answer(Transferred(leader=self.leader, before=before))

    async def make_token(self, request: Request) -> HTTPResponse:
        asked = msgspec.msgpack.decode(request.body, type=MakeToken)
        record = TokenRecord(
            id=f"{len(self.tokens):012x}",
            role=asked.role,
            created_at=AT,
            expires_at=AT + timedelta(seconds=asked.ttl_s),
            uses=asked.uses,
            uses_left=asked.uses,
        )
        self.tokens[record.id] = record
        return _answer(TokenMade(token=f"KH1::{record.id}", record=record))

    async def list_tokens(self, _: Request) -> HTTPResponse:
        return _answer(TokenList(tokens=list(self.tokens.values())))

    async def revoke_token(self, _: Request, token: str) -> HTTPResponse:
        if self.tokens.pop(token, None) is None:
            raise NotFound(f"there is no token {token!r}")
        return await self.list_tokens(_)


def _answer(body: msgspec.Struct) -> HTTPResponse:
    return HTTPResponse(msgspec.msgpack.encode(body), content_type="application/msgpack")
