"""`retention`: what each judicator keeps, what is set of that in the cluster, and what comes when.

What keeps less begins a day after it was set, so each judicator may have two lines: what it goes by
now, and what it will go by then. What takes a change back says what is in force now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from msgspec import Struct

from khala.client import AsyncKhala
from khala.config.values import Kind, show
from khala.model.errors import Rejected
from khala.protocol.v2 import (
    ClusterConfig,
    ClusterKeeping,
    JudicatorConfig,
    Keeping,
    KeepingInForce,
    SetRetention,
)
from roles.client import tables
from roles.client.in_force import amount, behind, known_everywhere
from roles.client.tables import Form

#: By option: the field, and how it is written.
_FIELDS = {
    "age": ("age_s", Kind.SECONDS),
    "count": ("count", Kind.INT),
    "bytes": ("size_bytes", Kind.SIZE),
    "audit": ("audit_s", Kind.SECONDS),
    "backups": ("backups_kept", Kind.INT),
}
#: Those that may have no bound, which stand together.
_RETENTION = ("age", "count", "bytes")
_OPTIONS = "--age, --count, --bytes, --audit or --backups"


class Kept(Struct, frozen=True, kw_only=True):
    """What one judicator keeps; null: no bound."""

    judicator: str
    #: Null: it is in force.
    begins_at: datetime | None
    age_s: float | None
    count: int | None
    size_bytes: int | None
    audit_s: float
    backups_kept: int
    #: Those of them that are set in the cluster.
    set: list[str]


async def list_retention(khala: AsyncKhala, form: Form) -> int:
    return _show(await khala.cluster_config(), form)


async def set_retention(khala: AsyncKhala, given: Mapping[str, str | None], form: Form) -> int:
    said = {
        name: amount(name, _FIELDS[name][1], text, boundless=name in _RETENTION)
        for name, text in given.items()
        if text is not None
    }
    if not said:
        raise Rejected(f"what is to be kept? give {_OPTIONS}", field="--age")
    return await _change(khala, _patch(said), form)


async def unset_retention(khala: AsyncKhala, names: Sequence[str], form: Form) -> int:
    return await _change(khala, _patch(dict.fromkeys(names or _FIELDS)), form)


def _patch(said: Mapping[str, int | None]) -> dict[str, object]:
    retention = {_FIELDS[name][0]: said[name] for name in _RETENTION if name in said}
    rest: dict[str, object] = {
        _FIELDS[name][0]: each for name, each in said.items() if name not in _RETENTION
    }
    return {"retention": retention, **rest} if retention else rest


async def _change(khala: AsyncKhala, patch: dict[str, object], form: Form) -> int:
    """Return when every judicator knows it, which is not when what keeps less begins."""
    config = await known_everywhere(khala, await khala.set_keeping(patch))
    for name in behind(config):
        _say(f"{name} does not go by it yet; `khala.pex retention ls` shows what it keeps")
    return _show(config, form)


def _show(config: ClusterConfig, form: Form) -> int:
    rows = [row for each in config.judicators for row in _rows(each, config.keeping)]
    if form in tables.DOCUMENTS:
        tables.show_structs(rows, form)
    elif form is Form.NAME:
        click.echo("\n".join(each.name for each in config.judicators))
    else:
        names = ["JUDICATOR", "FROM", *map(str.upper, _FIELDS), "SET"]
        tables.show_table(names, [_cells(each) for each in rows])
    for each in config.judicators:
        if each.keeping is None:
            _say(f"{each.name} is too old for what is set here; it keeps what its host was told")
    for name in config.unreachable:
        _say(f"{name} does not say what it keeps")
    _show_notice(config)
    return 0


def _rows(judicator: JudicatorConfig, said: ClusterKeeping | None) -> list[Kept]:
    now = _now(judicator)
    lines: list[tuple[datetime | None, dict[str, Any]]] = [(None, now)]
    if said is not None and said.less_from is not None:
        later = _later(judicator, said)
        if later != now:
            lines.append((said.less_from, later))
    fields = [_FIELDS[name][0] for name, each in _set(said).items() if each is not None]
    return [
        Kept(
            judicator=judicator.name,
            begins_at=begins_at,
            set=fields,
            **{_FIELDS[name][0]: each for name, each in amounts.items()},
        )
        for begins_at, amounts in lines
    ]


def _show_notice(config: ClusterConfig) -> None:
    """That less is kept from a date on, and what to type so that it is not."""
    said = config.keeping
    if said is None or said.less_from is None:
        return
    pairs = [
        (_now(each), _later(each, said), _of_host(each))
        for each in config.judicators
        if each.keeping is not None
    ]
    less = [
        name for name in _FIELDS if any(_below(later[name], now[name]) for now, later, _ in pairs)
    ]
    words = [name for name in less if all(host[name] == now[name] for now, _, host in pairs)]
    more = {name: _most([now[name] for now, _, _ in pairs]) for name in less if name not in words}
    commands = [f"unset {' '.join(words)}"] if words else []
    if more:
        texts = [f"--{name} {_text(name, each)}" for name, each in more.items()]
        commands.append(f"set {' '.join(texts)}")
    back = " and ".join(f"`khala.pex retention {each}`" for each in commands)
    takes = "take" if len(commands) > 1 else "takes"
    note = f"in force from {tables.date(said.less_from)}; until then what was in force keeps more"
    _say(f"{note}. {back} {takes} it back" if back else note)


def _now(judicator: JudicatorConfig) -> dict[str, Any]:
    known = judicator.keeping
    return _of_host(judicator) if known is None else _amounts(known.retention, known)


def _later(judicator: JudicatorConfig, said: ClusterKeeping) -> dict[str, Any]:
    """When no notice runs any more."""
    if judicator.keeping is None:
        return _now(judicator)
    bounds = {name: None if each == 0 else each for name, each in _set(said).items()}
    spoken = {name for name, each in _set(said).items() if each is not None}
    return _of_host(judicator) | {name: bounds[name] for name in spoken}


def _of_host(judicator: JudicatorConfig) -> dict[str, Any]:
    return _amounts(judicator.retention, judicator)


def _set(said: ClusterKeeping | None) -> dict[str, Any]:
    return {} if said is None else _amounts(said.retention, said)


def _amounts(
    retention: Keeping | SetRetention, rest: JudicatorConfig | KeepingInForce | ClusterKeeping
) -> dict[str, Any]:
    return {
        name: getattr(retention if name in _RETENTION else rest, field)
        for name, (field, _) in _FIELDS.items()
    }


def _below(one: float | None, other: float | None) -> bool:
    return one is not None and (other is None or one < other)


def _most(bounds: Sequence[float | None]) -> float | None:
    known = [each for each in bounds if each is not None]
    return max(known) if len(known) == len(bounds) else None


def _text(name: str, each: float | None) -> str:
    return "none" if each is None else show(_FIELDS[name][1], each)


def _cells(row: Kept) -> list[str]:
    begins = "now" if row.begins_at is None else tables.date(row.begins_at)
    amounts = [_text(name, getattr(row, field)) for name, (field, _) in _FIELDS.items()]
    said = [name for name, (field, _) in _FIELDS.items() if field in row.set]
    return [row.judicator, begins, *amounts, ",".join(said) or "-"]


def _say(note: str) -> None:
    click.echo(f"khala: {note}", err=True)
