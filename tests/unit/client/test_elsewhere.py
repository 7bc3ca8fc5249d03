"""Commands of a judicator's host that ask a gateway where one is named, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import pytest
from click.testing import CliRunner, Result

from khala.cli import cli
from khala.model.errors import NotPossible, Rejected
from khala.protocol.v2 import Collected, CreatedJoinToken, JoinToken, Kept, Transferred
from roles.admin import retention

AT = datetime(2026, 11, 24, tzinfo=UTC)
TOKEN = JoinToken(
    id="0123456789ab", role="executor", created_at=AT, expires_at=AT, uses=20, uses_left=19
)
COLLECTED = Collected(
    dry_run=False,
    kept=Kept(age_s=3600.0, count=None, size_bytes=None),
    tasks=3,
    jobs=1,
    size_bytes=1 << 20,
    oldest=AT,
    newest=AT,
    needed=2,
    more=False,
    own=1,
)


class Gateway:
    """What a command asks of one."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.collected = [COLLECTED]
        self.leads = "c"

    def client(self, url: str, *, token: str | None, patience_s: float) -> Self:
        self.asked.append((url, token))
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    async def collect(self, *, dry_run: bool) -> Collected:
        self.asked.append(("gc", dry_run))
        return self.collected.pop(0)

    async def create_join_token(
        self, role: str, *, expires_in: float, uses: int
    ) -> CreatedJoinToken:
        if role == "judicator":
            raise NotPossible("its tokens are made on a judicator's host")
        self.asked.append((role, expires_in, uses))
        return CreatedJoinToken(token="KH1x", record=TOKEN)

    async def join_tokens(self) -> list[JoinToken]:
        return [TOKEN]

    async def revoke_join_token(self, token: str) -> None:
        self.asked.append(("revoke", token))

    async def transfer_leadership(self, to: str | None) -> Transferred:
        self.asked.append(("transfer", to))
        return Transferred(leader=self.leads, before="a")


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gateway:
    gateway = Gateway()
    monkeypatch.setattr("roles.client.acts.AsyncKhala", gateway.client)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("KHALA_TOKEN_FILE", raising=False)
    return gateway


@pytest.fixture
def khala(gateway: Gateway) -> Callable[..., Result]:
    return lambda words: CliRunner().invoke(cli, [*words.split(), "--url", "http://g:7000"])


def test_it_says_what_it_says_on_a_host(gateway: Gateway, khala: Callable[..., Result]) -> None:
    gateway.collected = [msgspec.structs.replace(COLLECTED, more=True), COLLECTED]
    said = khala("gc")
    assert said.exit_code == 0
    kept, *went = said.stdout.splitlines()
    assert kept.startswith("kept of ended tasks: what ended within 1:00:00, but for those that say")
    assert went == [
        "went: 6 tasks, 2.0 MiB; 2 whole jobs among them",
        "2 of them went by their own retention",
        "they ended from 2026-11-24 00:00:00 to 2026-11-24 00:00:00 UTC",
        "2 older ones stay: tasks wait for them, or their key may be repeated",
    ]
    assert gateway.asked == [("http://g:7000", None), ("gc", False), ("gc", False)]


def test_a_dry_run_asks_once(gateway: Gateway, khala: Callable[..., Result]) -> None:
    gateway.collected = [msgspec.structs.replace(COLLECTED, more=True)]
    said = khala("gc --dry-run --json")
    assert msgspec.json.decode(said.stdout)["forgotten"]["tasks"] == 3
    assert gateway.asked[1:] == [("gc", True)]


def test_tokens_of_hosts_that_are_to_join(gateway: Gateway, khala: Callable[..., Result]) -> None:
    made = khala("token create --role executor --ttl 2h --uses 20")
    assert (made.exit_code, made.stdout) == (0, "KH1x\n")
    assert made.stderr.startswith(
        "for 20 executors, until 2026-11-24 00:00:00 UTC; on the new host"
    )
    listed = khala("token ls").stdout
    assert listed.splitlines()[1] == "0123456789ab  executor  19/20  2026-11-24 00:00:00"
    assert khala("token revoke 0123456789ab").stdout == listed
    assert [each for each in gateway.asked if each[0] != "http://g:7000"] == [
        ("executor", 7200.0, 20),
        ("revoke", "0123456789ab"),
    ]
    refused = khala("token create --role judicator")
    assert (refused.exit_code, refused.stderr) == (
        *(5, "khala: its tokens are made on a judicator's host\n"),
    )
    long = khala("token create --role executor --ttl 31d")
    assert isinstance(long.exception, Rejected)
    assert "--ttl: a duration from 1s to 30d" in long.exception.message


def test_another_judicator_leads(gateway: Gateway, khala: Callable[..., Result]) -> None:
    assert khala("cluster transfer-leader c").stdout == "c leads now; a did before.\n"
    other = khala("cluster transfer-leader b")
    assert (other.exit_code, other.stdout) == (6, "")
    assert "b agreed and fell silent then; c leads now" in other.stderr


def test_a_host_means_itself_whatever_its_shell_is_set_to(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KHALA_URL", "http://g:7000")
    monkeypatch.setattr(retention, "gc", lambda found, *, dry_run, as_json: 9)
    assert CliRunner().invoke(cli, ["gc", "--retention-count", "5"]).exit_code == 9
    assert gateway.asked == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("gc --url http://g --retention-age 30d", "--retention-age: a gateway, which --url"),
        ("token ls --url http://g --data-dir /x", "--data-dir: a gateway, which --url"),
        ("gc --token-file /x", "--token-file: it is a gateway's; name one with --url"),
    ],
)
def test_what_would_not_be_heeded_is_refused(gateway: Gateway, words: str, message: str) -> None:
    refused = CliRunner().invoke(cli, words.split()).exception
    assert isinstance(refused, Rejected)
    assert refused.message.startswith(message)
    assert gateway.asked == []
