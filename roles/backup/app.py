"""Create, verify, restore.

A backup that was never restored is a hope, so `create` restores what it wrote before it gives the
file its name. A restore gives the data its place before the node its identity: a directory that
was cut off in between is refused by the next start, and never taken for an empty cluster.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path

import click
import msgspec

from khala.config.settings import Settings
from khala.model.dates import utc_now
from khala.model.errors import OutcomeUnknown, Rejected, Unavailable
from khala.model.ids import mint_nonce
from khala.pki.node import JUDICATOR, NodeTls
from khala.protocol.backups import Saved
from khala.store import copying
from khala.store.client import connect, database_of
from khala.store.codec import Database
from khala.store.schema import SCHEMA_VERSION, ensure_schema
from khala.supervise.datadir import (
    RESTORING,
    Node,
    has_node,
    keep_node,
    load_node,
    lock_dir,
    make_dir,
)
from khala.supervise.leftovers import SCRATCH, hold, remove_leftovers
from khala.version import VERSION
from roles.backup.archive import FORMAT, Manifest, Reader, Writer
from roles.judicator.founding import found
from roles.judicator.renewal import mongo_settings
from roles.judicator.scratch import mongod_on

_SHOW_S = 1.0


class Progress:
    """A line on stderr about once a second; rewritten where that is a terminal."""

    def __init__(self, doing: str, of: int) -> None:
        self._doing = doing
        self._of = of
        self._done = 0
        self._shown_at = time.monotonic()
        self._rewrites = sys.stderr.isatty()
        self._wrote = False

    def add(self, documents: int) -> None:
        self._done += documents
        if time.monotonic() - self._shown_at >= _SHOW_S:
            self._shown_at = time.monotonic()
            end = "\r" if self._rewrites else "\n"
            text = f"khala: {self._doing}: {self._done:,} of about {self._of:,} documents"
            click.echo(text + end, nl=False, err=True)
            self._wrote = True

    def end(self) -> None:
        if self._wrote and self._rewrites:
            click.echo(err=True)


def create(settings: Settings, path: Path, *, verified: bool, as_json: bool = False) -> int:
    """Write `path`; the exit code."""
    data_dir = Path(settings.data_dir)
    if not has_node(data_dir):
        raise Rejected(
            f"--data-dir: {data_dir} is not a judicator's; give that of one, on its host",
            field="--data-dir",
        )
    node = load_node(data_dir, settings.name)
    _clean(path.parent)
    with Writer(path) as writer:
        manifest = asyncio.run(_save(settings, node.cluster, writer))
        if verified:
            asyncio.run(_try(settings, writer.draft))
        writer.publish()
    if as_json:
        _show(manifest)
        return 0
    tried = "; restored into a scratch MongoDB and counted: identical" if verified else ""
    click.echo(f"{path}: {_told(manifest)}{tried}")
    return 0


def verify(settings: Settings, path: Path, *, as_json: bool = False) -> int:
    """Try it; the exit code."""
    _clean(path.parent)
    manifest = asyncio.run(_try(settings, path))
    if as_json:
        _show(manifest)
        return 0
    click.echo(
        f"{path}: {_told(manifest)}, saved at {manifest.created_at} by Khala {manifest.version};"
        " restored into a scratch MongoDB and counted: identical"
    )
    return 0


def restore(settings: Settings, path: Path, *, init: bool) -> int:
    """Fill an empty data directory; the exit code."""
    with Reader(path, schema=SCHEMA_VERSION) as reader:
        data_dir = make_dir(Path(settings.data_dir))
        lock_dir(data_dir)
        _require_empty(data_dir)
        with _emptied(data_dir), _needing_room(data_dir):
            manifest = asyncio.run(_fill(data_dir, settings.mongodb.bin, reader))
            if init:
                found(NodeTls(data_dir, JUDICATOR))
            keep_node(data_dir, Node(cluster=mint_nonce(), name=settings.name))
    click.echo(
        f"{data_dir}: {_told(manifest)} of {manifest.created_at}. It is a new cluster; start it"
        f" with khala.pex {'judicator' if init else 'up'} --data-dir {data_dir}"
    )
    return 0


async def _save(settings: Settings, cluster: str, writer: Writer) -> Manifest:
    identity = NodeTls(Path(settings.data_dir), JUDICATOR)
    host = f"{settings.advertised}:{settings.mongodb.port}"
    client = connect(
        mongo_settings((host,), settings.mongodb.replica_set, identity if identity.exists else None)
    )
    started_at = utc_now().isoformat(timespec="seconds").replace("+00:00", "Z")
    try:
        database = database_of(client)
        await _require_current(database)
        names = copying.names_to_copy()
        about = [await copying.count(database, name, exactly=False) for name in names]
        progress = Progress("saving", sum(about))
        documents = {}
        for name in names:
            documents[name] = await _save_one(database, name, writer, progress)
        progress.end()
    finally:
        await client.close()
    return writer.finish(
        Manifest(
            format=FORMAT,
            version=VERSION,
            schema=SCHEMA_VERSION,
            cluster=cluster,
            created_at=started_at,
            documents=documents,
            parts=[],
        )
    )


async def _save_one(database: Database, name: str, writer: Writer, progress: Progress) -> int:
    documents = 0
    async with aclosing(copying.read_all(database, name)) as batches:
        async for batch in batches:
            writer.add(name, batch.documents, batch.data)
            documents += batch.documents
            progress.add(batch.documents)
    return documents


async def _require_current(database: Database) -> None:
    version = await copying.schema_version(database)
    if version != SCHEMA_VERSION:
        raise Unavailable(
            f"the database has schema version {version}, this Khala knows {SCHEMA_VERSION}; use the"
            " file that the judicators run, or let them start first"
        )


async def _try(settings: Settings, path: Path) -> Manifest:
    """Restore it where nobody looks, and read it as this Khala would."""
    with Reader(path, schema=SCHEMA_VERSION) as reader:
        with (
            _needing_room(path.parent),
            tempfile.TemporaryDirectory(prefix=SCRATCH, dir=path.parent) as scratch,
            _held(Path(scratch)),
        ):
            data = make_dir(Path(scratch) / "mongodb")
            async with mongod_on(data, settings.mongodb.bin) as database:
                await _load(database, reader)
        return reader.manifest


@contextmanager
def _needing_room(folder: Path) -> Iterator[None]:
    """Nobody else uses that MongoDB and its disk: what fails there is most often its size."""
    try:
        yield
    except (OSError, Unavailable, OutcomeUnknown) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise Unavailable(f"the copy in {folder} failed: {why}; is there room?") from error


@contextmanager
def _emptied(data_dir: Path) -> Iterator[None]:
    """Take away what could not be finished, so that the same command may be given again."""
    try:
        yield
    except BaseException:
        for name in (RESTORING, "mongodb"):
            with suppress(FileNotFoundError):
                shutil.rmtree(data_dir / name)
        raise


@contextmanager
def _held(scratch: Path) -> Iterator[None]:
    descriptor = hold(scratch)
    try:
        yield
    finally:
        os.close(descriptor)


def _clean(folder: Path) -> None:
    for path in remove_leftovers(folder):
        click.echo(f"khala: removed {path}, which a backup that was killed has left", err=True)


async def _fill(data_dir: Path, mongod_bin: str | None, reader: Reader) -> Manifest:
    draft = make_dir(data_dir / RESTORING)
    async with mongod_on(draft, mongod_bin) as database:
        await _load(database, reader)
    draft.rename(data_dir / "mongodb")
    return reader.manifest


async def _load(database: Database, reader: Reader) -> None:
    """Everything in it, with indexes and rules; then count, and read every task."""
    manifest = reader.manifest
    progress = Progress("restoring", sum(manifest.documents.values()))
    for part, data in reader.parts():
        loaded = await copying.load(database, part.collection, copying.split(data))
        progress.add(loaded)
    progress.end()
    for name, expected in manifest.documents.items():
        counted = await copying.count(database, name, exactly=True)
        if counted != expected:
            raise Rejected(
                f"{name}: the backup says {expected} documents, {counted} were restored; it is"
                " damaged, use another one"
            )
    await ensure_schema(database, copied=True)
    await copying.read_every_task(database)


def _require_empty(data_dir: Path) -> None:
    for name in ("node.json", "mongodb", RESTORING, "etcd"):
        if (data_dir / name).exists():
            raise Rejected(
                f"--data-dir: {data_dir} has data ({name}); a backup is restored into an empty"
                " directory",
                field="--data-dir",
            )


def _show(manifest: Manifest) -> None:
    counted = manifest.documents
    saved = Saved(tasks=counted.get("tasks", 0), blobs=counted.get("blobs", 0))
    click.echo(msgspec.json.encode(saved))


def _told(manifest: Manifest) -> str:
    mib = manifest.size_bytes / (1024 * 1024)
    return f"{manifest.documents.get('tasks', 0):,} tasks, {mib:,.1f} MiB"
