"""`job graph`: what a job waits for, and what waits for it, in words."""

from __future__ import annotations

from collections.abc import Iterator

import click

from khala.client import AsyncKhala
from khala.model.depends import On
from khala.protocol.v2 import GraphEdge, GraphNode, JobGraph
from roles.client import tables
from roles.client.connection import Connection
from roles.client.selectors import select_job
from roles.client.tables import Form


async def show_graph(khala: AsyncKhala, connection: Connection, word: str, form: Form) -> int:
    found = await khala.job_graph(await select_job(khala, connection, word))
    if form in tables.DOCUMENTS:
        tables.show_structs([found], form)
    elif form is Form.NAME:
        for node in found.nodes:
            click.echo(node.id)
    else:
        for line in lines_of(found):
            click.echo(line)
    return 0


def lines_of(found: JobGraph) -> Iterator[str]:
    """The job; before it and behind it, an edge each line."""
    by_id = {node.id: node for node in found.nodes}
    yield _words(found.nodes[0])
    before = [edge for edge in found.edges if by_id[edge.to].inside]
    behind = [edge for edge in found.edges if not by_id[edge.to].inside]
    if not before and not behind:
        yield "it waits for nothing, and nothing waits for it"
    if before:
        yield "waits for"
        for edge in before:
            yield f"  {_words(by_id[edge.from_])}{_which(by_id[edge.to], 'for')}{_on(edge)}"
    if behind:
        yield "is waited for by"
        for edge in behind:
            yield f"  {_words(by_id[edge.to])}{_which(by_id[edge.from_], 'waits for')}{_on(edge)}"
    if found.more:
        yield "and more"


def _words(node: GraphNode) -> str:
    name = f"  {tables.plain(node.name)}" if node.name else ""
    return f"{node.kind} {node.id}{name}  {node.state or 'gone'}"


def _which(node: GraphNode, how: str) -> str:
    """One of the job's tasks, not all of it."""
    return f"  ({how} index {node.job.index})" if node.job is not None else ""


def _on(edge: GraphEdge) -> str:
    return "  whatever its end" if edge.on is On.ANY else ""
