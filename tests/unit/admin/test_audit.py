"""The audit log as operators read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from khala.cli import cli
from khala.model.dates import utc_now
from khala.model.errors import Rejected
from khala.protocol.access import AuditEntry, AuditPage, AuditQuery, AuditRow
from roles.admin import asking, audit

DATE = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
ROWS = [
    AuditRow(
        id=f"{n:024x}",
        at=DATE,
        entry=AuditEntry(act="node.drain", target=f"e{n}\x1b[2J", user="ann", known_by="token"),
        status=None if n else 200,
    )
    for n in range(3)
]


class Judicator:
    """With pages of two at the most."""

    def __init__(self) -> None:
        self.queries: list[AuditQuery] = []

    async def ask(self, _: str, path: str, query: AuditQuery, __: type) -> AuditPage:
        assert path == "/rpc/v1/audit/list"
        self.queries.append(query)
        begin = 0 if query.before is None else int(query.before, 16) + 1
        rows = ROWS[begin : begin + min(2, query.limit)]
        return AuditPage(rows=rows, more=rows[-1] is not ROWS[-1])

    async def close(self) -> None:
        pass


@pytest.fixture
def judicator(monkeypatch: pytest.MonkeyPatch) -> Judicator:
    judicator = Judicator()
    monkeypatch.setattr(asking, "JudicatorClient", lambda *_: judicator)
    monkeypatch.setattr(asking, "any_credentials", lambda settings: None)
    monkeypatch.setattr(asking, "judicators_of", lambda settings, role: [])
    return judicator


@pytest.fixture
def show(judicator: Judicator, tmp_path: Path) -> Callable[..., Result]:
    def run(*words: str) -> Result:
        given = ["audit", *words, "--data-dir", str(tmp_path), "--join", "a:1"]
        return CliRunner().invoke(cli, given)

    return run


def test_a_table_for_people(show: Callable[..., Result]) -> None:
    lines = show("--limit", "2").stdout.splitlines()
    assert [line.split()[:6] for line in lines] == [
        ["AT", "WHO", "BY", "ACT", "TARGET", "ENDED"],
        ["2026-01-31T12:00:00Z", "ann", "token", "node.drain", "e0\ufffd[2J", "200"],
        ["2026-01-31T12:00:00Z", "ann", "token", "node.drain", "e1\ufffd[2J", "?"],
    ]


def test_as_many_pages_as_it_takes(show: Callable[..., Result], judicator: Judicator) -> None:
    found = [json.loads(line) for line in show("-o", "jsonl").stdout.splitlines()]
    assert [each["id"] for each in found] == [row.id for row in ROWS]
    assert [query.before for query in judicator.queries] == [None, ROWS[1].id]
    assert found[0] == {
        "id": ROWS[0].id,
        "at": "2026-01-31T12:00:00.000Z",
        "act": "node.drain",
        "target": "e0\x1b[2J",
        "detail": "",
        "user": "ann",
        "known_by": "token",
        "token": None,
        "address": "",
        "via": "",
        "request_id": "",
        "status": 200,
    }
    assert json.loads(show("-o", "json").stdout) == found


def test_what_is_asked_for(show: Callable[..., Result], judicator: Judicator) -> None:
    words = "--user ann --act node.drain --since 2026-01-31 --until 2026-01-31T13:00+01:00"
    assert show(*words.split(), "--limit", "1").exit_code == 0
    (query,) = judicator.queries
    assert (query.user, query.act, query.limit) == ("ann", "node.drain", 1)
    assert (query.since, query.until) == (datetime(2026, 1, 31, tzinfo=UTC), DATE)


def test_a_date_or_how_long_ago() -> None:
    ago = audit.moment("--since", "2h")
    assert ago is not None
    assert abs(utc_now() - ago - timedelta(hours=2)) < timedelta(hours=1)
    assert audit.moment("--since", None) is None
    for text in ("yesterday", "2026-13-01", "9" * 30):
        with pytest.raises(Rejected, match="--since: a date such as"):
            audit.moment("--since", text)
