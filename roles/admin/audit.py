"""`audit`: who changed what, the latest first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec
from msgspec.structs import asdict, replace

from khala.config.settings import Settings
from khala.config.values import Kind, parse
from khala.model.access_limits import AUDIT_PAGE_MAX
from khala.model.dates import utc_now
from khala.model.errors import Rejected
from khala.protocol import v2
from khala.protocol.access import AuditEntry, AuditPage, AuditQuery, AuditRow
from roles.admin.asking import ask
from roles.lines import date, plain, show_table


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


def show(settings: Settings, query: AuditQuery, form: Form) -> int:
    """`query.limit` may be larger than a page."""
    rows = _rows(settings, query)
    if form is Form.JSONL:
        for row in rows:
            print(v2.encode(_item(row)).decode())
    elif form is Form.JSON:
        items = v2.encode([_item(row) for row in rows])
        print(msgspec.json.format(items, indent=2).decode())
    else:
        head = ["AT", "WHO", "BY", "ACT", "TARGET", "ENDED", "DETAIL"]
        show_table(head, [_cells(row) for row in rows])
    return 0


def moment(flag: str, given: object) -> datetime | None:
    """A date, or how long ago. Raise `Rejected`."""
    if given is None:
        return None
    text = str(given)
    try:
        ago_s = parse(Kind.SECONDS, text)
        if isinstance(ago_s, int | float):
            return utc_now() - timedelta(seconds=ago_s)
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected(
            f"{flag}: a date such as 2026-01-31T12:00Z is expected, or how long ago, such as 2h;"
            f" {text[:40]!r} was given",
            field=flag,
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _rows(settings: Settings, query: AuditQuery) -> Iterator[AuditRow]:
    left = query.limit
    while left:
        asked = replace(query, limit=min(left, AUDIT_PAGE_MAX))
        page = _page(settings, asked)
        yield from page.rows
        left -= len(page.rows)
        if not page.more:
            return
        query = replace(query, before=page.rows[-1].id)


def _page(settings: Settings, query: AuditQuery) -> AuditPage:
    return ask(settings, lambda c: c.ask("POST", "/rpc/v1/audit/list", query, AuditPage))


def _item(row: AuditRow) -> v2.AuditItem:
    """As the gateway shows it."""
    return v2.AuditItem(id=row.id, at=v2.stamp(row.at), status=row.status, **asdict(row.entry))


def _cells(row: AuditRow) -> list[str]:
    entry = row.entry
    ended = "?" if row.status is None else str(row.status)
    texts = (_who(entry), entry.known_by, entry.act, entry.target, ended, entry.detail)
    return [date(row.at), *(plain(text) or "-" for text in texts)]


def _who(entry: AuditEntry) -> str:
    """The user, or the host of a command."""
    return entry.user or (entry.via if entry.known_by == "host" else "")
