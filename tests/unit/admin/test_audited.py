"""Every command that changes something is in the audit log before it does, with how it ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from khala.cli import cli
from khala.model.access import AccessToken, Role, User
from khala.model.dates import utc_now
from khala.model.errors import (
    KhalaError,
    LastAdmin,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from khala.model.executor import ExecutorRecord, Owner, SessionState
from khala.model.ids import BootId, ExecutorName, Incarnation, JudicatorName, SessionNo
from khala.model.retention import Forgotten, Retention
from khala.protocol.access import (
    AuditEntry,
    AuditKept,
    AuditOutcome,
    PatList,
    PatMade,
    UserList,
    UserMade,
)
from khala.protocol.joining import TokenList, TokenMade, TokenRecord
from khala.protocol.leadership import Transferred
from khala.protocol.members import Roster
from khala.protocol.nodes import NodeLoad
from khala.protocol.retention import Answer, Forget
from roles.admin import asking, members, tokens

NOW = utc_now()
USER = User(name="ann", number=1, role=Role.ADMIN, created_at=NOW)
PAT = AccessToken(
    id="0" * 12, user="ann", name="x", role=Role.ADMIN, created_at=NOW, expires_at=NOW
)
RECORD = TokenRecord(
    id="0" * 12, role="executor", created_at=NOW, expires_at=NOW, uses=1, uses_left=1
)
EXECUTOR = ExecutorRecord(
    name=ExecutorName("e"),
    id="0" * 24,
    session=SessionNo(1),
    boot=BootId("b"),
    state=SessionState.ONLINE,
    owner=Owner(judicator=JudicatorName("j"), incarnation=Incarnation("i")),
    slots=1,
    version="1",
    enforcement="root",
    seen_at=NOW,
)
LEAD = "cluster.transfer_leadership"
ANSWERS: dict[type, object] = {
    User: USER,
    UserMade: UserMade(user=USER, secret="kh_pat_x", pat=PAT),
    UserList: UserList(users=[USER]),
    PatMade: PatMade(secret="kh_pat_x", pat=PAT),
    PatList: PatList(pats=[PAT]),
    TokenMade: TokenMade(token="KH1x", record=RECORD),
    TokenList: TokenList(tokens=[]),
    Roster: Roster(members=[]),
    Transferred: Transferred(leader=JudicatorName("c"), before=JudicatorName("a")),
    NodeLoad: NodeLoad(record=EXECUTOR, running=0),
    Answer: Answer(keep=Retention(count=1), forgotten=Forgotten()),
}


class Judicator:
    """What a command asks of one."""

    def __init__(self) -> None:
        #: In their order: acts that were noted, calls, and outcomes.
        self.heard: list[str] = []
        self.entries: list[AuditEntry] = []
        self.bodies: list[object] = []
        self.fails: dict[str, KhalaError] = {}

    def client(self, *_: object) -> Judicator:
        return self

    async def ask(self, method: str, path: str, body: Any, kind: type, **_: float) -> object:
        if path == "/rpc/v1/audit":
            self._fail("audit")
            self.entries.append(body)
            self.heard.append(body.act)
            return AuditKept(id="0" * 24)
        self.heard.append(f"{method} {path}")
        self.bodies.append(body)
        if method != "GET":
            self._fail("change")
        return ANSWERS[kind]

    async def note_outcome(self, entry: str, outcome: AuditOutcome) -> None:
        assert entry == "0" * 24
        self._fail("outcome")
        self.heard.append(str(outcome.status))

    async def close(self) -> None:
        pass

    def _fail(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]


@pytest.fixture
def judicator(monkeypatch: pytest.MonkeyPatch) -> Judicator:
    judicator = Judicator()
    monkeypatch.setattr(asking, "JudicatorClient", judicator.client)
    monkeypatch.setattr(asking, "any_credentials", lambda settings: None)
    monkeypatch.setattr(asking, "judicators_of", lambda settings, role: [])
    for module in (tokens, members):
        monkeypatch.setattr(module, "require_certificates", lambda settings: None)
    return judicator


@pytest.fixture
def khala(judicator: Judicator, tmp_path: Path) -> Callable[..., Result]:
    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, [*words, "--data-dir", str(tmp_path), "--join", "a:1"])

    return run


@pytest.mark.parametrize(
    ("words", "act", "target", "call"),
    [
        ("user create ann --role admin", "user.create", "ann", "POST /rpc/v1/users"),
        ("user set ann --disable", "user.change", "ann", "PATCH /rpc/v1/users/ann"),
        ("user rm a/b", "user.delete", "a/b", "DELETE /rpc/v1/users/a%2Fb"),
        ("pat create ann --name x", "token.create", "ann", "POST /rpc/v1/pats"),
        ("pat revoke ann 0a", "token.delete", "0a", "DELETE /rpc/v1/pats/0a?user=ann"),
        ("token create --role executor", "join_token.create", "executor", "POST /rpc/v1/tokens"),
        ("token revoke 0a", "join_token.revoke", "0a", "DELETE /rpc/v1/tokens/0a"),
        ("cordon e", "node.cordon", "e", "POST /rpc/v1/nodes/e/cordon"),
        ("uncordon e", "node.uncordon", "e", "DELETE /rpc/v1/nodes/e/cordon"),
        ("drain e", "node.drain", "e", "POST /rpc/v1/nodes/e/cordon"),
        ("cluster remove c", "cluster.remove", "c", "DELETE /rpc/v1/members/c"),
        ("cluster transfer-leader c", LEAD, "c", "POST /rpc/v1/leadership"),
        ("gc --retention-count 5", "cluster.gc", "", "POST /rpc/v1/retention"),
    ],
)
def test_a_change_is_noted_before_and_after(
    judicator: Judicator,
    khala: Callable[..., Result],
    words: str,
    act: str,
    target: str,
    call: str,
) -> None:
    assert khala(*words.split()).exit_code == 0
    assert judicator.heard[:3] == [act, call, "200"]
    (entry,) = judicator.entries
    assert (entry.target, entry.known_by, entry.user) == (target, "host", None)
    assert entry.via
    assert "kh_pat" not in str(entry)


@pytest.mark.parametrize(
    "words", ["user ls", "pat ls ann", "token ls", "cluster members", "gc --dry-run"]
)
def test_who_only_looks_is_not_noted(
    judicator: Judicator, khala: Callable[..., Result], words: str
) -> None:
    assert khala(*words.split()).exit_code == 0
    assert judicator.entries == []


@pytest.mark.parametrize(
    ("error", "outcomes"),
    [(LastAdmin("x"), ["409"]), (Unavailable("x"), ["503"]), (OutcomeUnknown("x"), [])],
)
def test_how_it_ended_is_said_if_it_is_known(
    judicator: Judicator, khala: Callable[..., Result], error: KhalaError, outcomes: list[str]
) -> None:
    judicator.fails["change"] = error
    assert khala("user", "rm", "ann").exception is error
    assert judicator.heard == ["user.delete", "DELETE /rpc/v1/users/ann", *outcomes]


def test_what_cannot_be_noted_is_not_done(
    judicator: Judicator, khala: Callable[..., Result]
) -> None:
    judicator.fails["audit"] = Unavailable("no majority")
    assert khala("user", "rm", "ann").exception is judicator.fails["audit"]
    assert judicator.heard == []


def test_what_is_done_is_done_if_its_end_cannot_be_noted(
    judicator: Judicator, khala: Callable[..., Result]
) -> None:
    judicator.fails["outcome"] = Unavailable("no majority")
    assert khala("user", "rm", "ann").exit_code == 0


def test_a_judicator_without_an_audit_log_is_asked_all_the_same(
    judicator: Judicator, khala: Callable[..., Result]
) -> None:
    judicator.fails["audit"] = NotFound("there is nothing here")
    done = khala("cordon", "e")
    assert done.exit_code == 0
    assert "older than the audit log" in done.stderr
    assert judicator.heard == ["POST /rpc/v1/nodes/e/cordon"]


def test_a_token_is_alone_on_stdout(judicator: Judicator, khala: Callable[..., Result]) -> None:
    for words in ("user create ann --role admin", "pat create ann --name x"):
        done = khala(*words.split())
        assert done.stdout == "kh_pat_x\n"
        assert "shown this once" in done.stderr
    assert msgspec.json.encode(judicator.entries).count(b"ttl") == 1


def test_a_change_of_nothing_is_refused(khala: Callable[..., Result]) -> None:
    error = khala("user", "set", "ann").exception
    assert isinstance(error, KhalaError)
    assert "--role ROLE, --disable or --enable" in error.message


def test_what_a_host_was_told_is_no_word_of_whoever_collects_there(
    judicator: Judicator, khala: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster may keep more than the judicator's own settings say."""
    monkeypatch.setenv("KHALA_RETENTION_AGE", "1h")
    for words in ((), ("--retention-count", "5")):
        assert khala("gc", *words).exit_code == 0
    assert judicator.bodies == [Forget(), Forget(keep=Retention(count=5))]
