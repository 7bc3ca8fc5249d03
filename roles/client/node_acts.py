"""What the commands on nodes do, once their options are read."""

from __future__ import annotations

import asyncio
import time

import click

from khala.client import AsyncKhala
from khala.model.errors import Unavailable
from khala.protocol import v2
from roles.client import tables
from roles.client.tables import Form

_LOOK_S = 0.5
#: From the deadline to an executor that is empty: its judicator may just be changing.
_MOVE_S = 60.0
#: As of `khala.pex doctor`.
_UNABLE = 69


async def list_nodes(khala: AsyncKhala, form: Form) -> int:
    found = await khala.nodes()
    if form in tables.DOCUMENTS:
        tables.show_structs([*found.judicators, *found.executors], form)
        return 0
    if form is Form.NAME:
        names = [node.name for node in found.judicators]
        click.echo("\n".join(names + [node.name for node in found.executors]))
        return 0
    rows = [
        [node.name, "judicator", _judicator_state(node), "-", node.version]
        for node in found.judicators
    ]
    rows += [
        [node.name, "executor", _executor_state(node), _busy(node), node.version]
        for node in found.executors
    ]
    tables.show_table(["NAME", "ROLE", "STATE", "BUSY", "VERSION"], rows)
    return 0


async def show_node(khala: AsyncKhala, name: str, form: Form) -> int:
    """Lines for people, or the document."""
    found = await khala.get_node(name)
    if form in tables.DOCUMENTS:
        tables.show_structs([found], form)
        return 0
    if found.judicator is not None:
        node = found.judicator
        tables.show_lines(
            judicator=node.name,
            state=_judicator_state(node),
            address=node.address,
            version=node.version or "unknown: it does not answer",
        )
    if found.executor is not None:
        tables.show_lines(**_executor_lines(found.executor, found.running))
    return 0


def _executor_lines(node: v2.ExecutorNode, running: int) -> dict[str, str]:
    lines = {
        "executor": node.name,
        "state": _executor_state(node),
        "seen": f"{tables.age(node.seen_at)} ago",
        "slots": f"{_busy(node)} busy, {running} tasks here or on their way",
        "version": node.version,
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(node.labels.items())),
        "resources": ", ".join(
            f"{name} {node.resources_left.get(name, 0):g}/{whole:g} left"
            for name, whole in sorted(node.resources.items())
        ),
        "images": ", ".join(image.name for image in node.images),
        "networks": ", ".join(node.networks),
    }
    if node.enforcement is not None:
        missing = ", ".join(node.enforcement.unenforced)
        lines["sandbox"] = node.enforcement.mode + (f", without {missing}" if missing else "")
    if node.cordon is not None:
        lines["cordoned"] = " ".join(
            filter(None, (f"since {tables.date(node.cordon.since)}", node.cordon.reason))
        )
    return lines


async def cordon(khala: AsyncKhala, name: str, reason: str) -> int:
    work = await khala.cordon(name, reason=reason)
    click.echo(f"{name} gets no new work; {_still(work.running)}. Undo: node uncordon {name}")
    return 0


async def uncordon(khala: AsyncKhala, name: str) -> int:
    await khala.uncordon(name)
    click.echo(f"{name} gets work again.")
    return 0


async def drain(
    khala: AsyncKhala, name: str, deadline_s: float, reason: str, *, monitor: bool
) -> int:
    """Return when it is empty: soon after the deadline at the latest, when what still runs there
    is given back. Raise `Unavailable` if that does not happen either."""
    until = time.monotonic() + deadline_s + _MOVE_S
    running, shown = (await khala.drain(name, deadline=deadline_s, reason=reason)).running, -1
    while running:
        if monitor and running != shown:
            click.echo(f"khala: {_still(running)}", err=True)
            shown = running
        if time.monotonic() > until:
            raise Unavailable(
                f"--deadline: {name} is not empty, {_still(running)}, though they were to be given"
                " back; it stays cordoned. Is its judicator serving? See khala.pex nodes"
            )
        await asyncio.sleep(_LOOK_S)
        running = (await khala.get_node(name)).running
    click.echo(f"{name} is empty; safe to stop.")
    return 0


async def forget(khala: AsyncKhala, name: str) -> int:
    await khala.forget_node(name)
    click.echo(f"{name} is not listed any more.", err=True)
    return 0


async def show_examinations(khala: AsyncKhala, name: str, form: Form) -> int:
    """69 if a role lacks something, as of the doctor itself."""
    found = await khala.examine_node(name)
    if form in tables.DOCUMENTS:
        tables.show_structs(found, form)
    else:
        for each in found:
            click.echo(f"{each.role} {name}, {tables.age(each.at)} ago")
            tables.show_table(None, [row for line in each.findings for row in _finding_rows(line)])
        if not found:
            click.echo(f"{name} has not looked at its host yet, or is older than this.", err=True)
    return 0 if all(each.able for each in found) else _UNABLE


def _finding_rows(line: v2.Finding) -> list[list[str]]:
    rows = [[line.level, line.check, tables.plain(line.found)]]
    if line.repair is not None:
        rows.append(["", "", f"repair: {tables.plain(line.repair)}"])
    return rows


def _busy(node: v2.ExecutorNode) -> str:
    return f"{node.slots - node.free}/{node.slots}"


def _executor_state(node: v2.ExecutorNode) -> str:
    return f"{node.state}, cordoned" if node.cordon else node.state


def _judicator_state(node: v2.JudicatorNode) -> str:
    if not node.serving:
        return "not serving"
    return "leader" if node.leader else "serving"


def _still(running: int) -> str:
    return f"{running} task{'s' * (running != 1)} still on it"
