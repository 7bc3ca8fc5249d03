"""`quota`: what a user may have of the cluster, and has; what is set of that in the cluster."""

from __future__ import annotations

from collections.abc import Mapping

import click
from msgspec import Struct

from khala.client import AsyncKhala
from khala.config.values import Kind, show
from khala.model.errors import Rejected
from khala.protocol.v2 import ClusterConfig, QuotaBounds, QuotaLine, QuotasInForce, SetBounds
from roles.client import tables
from roles.client.in_force import amount, behind, known_everywhere
from roles.client.tables import Form

_LINES = {
    "waiting tasks": "queued",
    "running tasks": "running",
    "processor seconds today": "cpu_s",
    "stored bytes": "stored_bytes",
}
#: By option: the bound, and how it is written.
_BOUNDS = {
    "queued": ("queued", Kind.INT),
    "running": ("running", Kind.INT),
    "cpu": ("cpu_s", Kind.SECONDS),
    "bytes": ("stored_bytes", Kind.SIZE),
}
DEFAULT = "default"


class InForce(Struct, frozen=True, kw_only=True):
    """The bounds of a user, or of everybody; null: none."""

    user: str
    queued: int | None
    running: int | None
    cpu_s: int | None
    stored_bytes: int | None
    #: Those of them that are set in the cluster.
    set: list[str]


async def show_quota(khala: AsyncKhala, user: int | None, form: Form) -> int:
    found = await khala.quota(user)
    if form in tables.DOCUMENTS:
        tables.show_structs([found], form)
        return 0
    rows = [[name, *_cells(getattr(found, field))] for name, field in _LINES.items()]
    tables.show_table(["QUOTA", "USED", "LIMIT"], rows)
    return 0


def _cells(line: QuotaLine) -> list[str]:
    """What nothing bounds is not counted."""
    if line.limit is None:
        return ["-", "none"]
    return [f"{line.used or 0:.0f}", str(line.limit)]


async def list_quotas(khala: AsyncKhala, form: Form) -> int:
    return _show(await khala.cluster_config(), form)


async def set_quota(
    khala: AsyncKhala, user: str, given: Mapping[str, str | None], form: Form
) -> int:
    bounds = {
        _BOUNDS[name][0]: amount(name, _BOUNDS[name][1], text)
        for name, text in given.items()
        if text is not None
    }
    if not bounds:
        raise Rejected("which bound? give --queued, --running, --cpu or --bytes", field="--queued")
    return await _change(khala, _patch(user, bounds), form)


async def unset_quota(khala: AsyncKhala, user: str, form: Form) -> int:
    return await _change(khala, _patch(user, None), form)


def _patch(user: str, bounds: dict[str, int] | None) -> dict[str, object]:
    if user == DEFAULT:
        return {DEFAULT: bounds}
    if not user.isdecimal():
        raise Rejected(
            f"USER: a user's number or `{DEFAULT}` is expected, {user[:40]!r} was given;"
            " khala.pex user ls shows the numbers",
            field="USER",
        )
    return {"users": {str(int(user)): bounds}}


async def _change(khala: AsyncKhala, patch: dict[str, object], form: Form) -> int:
    """Return when it is in force, or say where it is not."""
    config = await known_everywhere(khala, await khala.set_quotas(patch))
    for name in behind(config):
        click.echo(
            f"khala: {name} does not go by it yet; with the first quota of a cluster it makes"
            " indexes, which takes a while where there are many tasks",
            err=True,
        )
    return _show(config, form)


def _show(config: ClusterConfig, form: Form) -> int:
    rows = _rows(config)
    if form in tables.DOCUMENTS:
        tables.show_structs(rows, form)
    elif form is Form.NAME:
        click.echo("\n".join(each.user for each in rows))
    else:
        names = ["USER", *map(str.upper, _BOUNDS), "SET"]
        tables.show_table(names, [_cells_of(each) for each in rows])
    if "quotas" in config.differing:
        note = "judicators were told different quotas; these are of one of them"
        click.echo(f"khala: {note}", err=True)
    return 0


def _rows(config: ClusterConfig) -> list[InForce]:
    """As the newest of what judicators go by says."""
    known = [each.in_force for each in config.judicators if each.in_force is not None]
    if not known or config.quotas is None:
        return []
    newest: QuotasInForce = max(known, key=lambda each: each.revision)
    rows = [_row(DEFAULT, newest.default, config.quotas.default)]
    nothing = SetBounds(queued=None, running=None, cpu_s=None, stored_bytes=None)
    for user, bounds in newest.users.items():
        rows.append(_row(user, bounds, config.quotas.users.get(user, nothing)))
    return rows


def _row(user: str, bounds: QuotaBounds, said: SetBounds) -> InForce:
    fields = [field for field, _ in _BOUNDS.values()]
    return InForce(
        user=user,
        **{field: getattr(bounds, field) for field in fields},
        set=[field for field in fields if getattr(said, field) is not None],
    )


def _cells_of(row: InForce) -> list[str]:
    cells = [row.user]
    for field, kind in _BOUNDS.values():
        bound = getattr(row, field)
        cells.append("none" if bound is None else show(kind, bound))
    said = [name for name, (field, _) in _BOUNDS.items() if field in row.set]
    return [*cells, ",".join(said) or "-"]
