"""Backups by HTTP: who is asked, what is told of those that do not answer, and the archive."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from khala.client import AsyncKhala
from khala.client.transport import Transport
from khala.model.errors import NotPossible, Unavailable
from khala.model.ids import JudicatorName
from khala.net.client import JudicatorClient
from khala.protocol.backups import BackupState
from khala.protocol.rpc import ClusterView
from khala.protocol.v2 import Backup
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.operations_double import ARCHIVE

BACKUPS = "/api/v2/backups"


@pytest.fixture(autouse=True)
def _none(site: Site) -> None:
    site.judicator.operations.backups.clear()


async def ask(site: Site, method: str, path: str, document: Any = None) -> tuple[int, Any]:
    async with site.http.request(method, site.url(path), json=document) as response:
        return response.status, await response.json(content_type=None)


async def test_from_the_first_to_the_last(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "saved.tar"
    async with AsyncKhala(site.base) as khala:
        began = await khala.create_backup()
        assert (began.state, began.judicator) == (BackupState.RUNNING, "judicator")
        with pytest.raises(NotPossible, match="is running, there is nothing to read"):
            await khala.download_backup(began.id, file)
        assert not file.exists()
        second = await khala.create_backup("judicator")
        site.judicator.operations.finish_backup(began.id)
        done = await khala.get_backup(began.id)
        assert (done.state, done.tasks, done.size_bytes) == ("done", 3, len(ARCHIVE))
        assert [each.id for each in (await khala.backups()).items] == [second.id, began.id]
        assert (await khala.backups()).unreachable == []
        assert (await khala.verify_backup(began.id)).verifying
        await khala.download_backup(began.id, file)
        assert file.read_bytes() == ARCHIVE
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with pytest.raises(FileExistsError):
            await khala.download_backup(began.id, file)
        await khala.remove_backup(began.id)
        assert [each.id for each in (await khala.backups()).items] == [second.id]
    for path in (f"{BACKUPS}/{began.id}", f"{BACKUPS}/{'f' * 16}", f"{BACKUPS}/nonsense"):
        for method in ("GET", "DELETE"):
            status, problem = await ask(site, method, path)
            assert (status, problem["code"]) == (404, "not_found")


def breaking(monkeypatch: pytest.MonkeyPatch, *, times: int, size: int) -> list[str]:
    """Let a line break off after a few bytes, so many times; what parts were asked for."""
    ranges: list[str] = []
    opening = Transport.open

    async def broken(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            if len(ranges) > times:
                yield piece
                continue
            yield piece[:size]
            raise Unavailable("the line broke")

    @asynccontextmanager
    async def open_it(
        self: Transport, path: str, query: Any, headers: Any
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        ranges.append(headers["Range"])
        async with opening(self, path, query, headers) as pieces:
            yield broken(pieces)

    monkeypatch.setattr(Transport, "open", open_it)
    return ranges


async def test_a_download_goes_on_where_it_was(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = breaking(monkeypatch, times=2, size=4)
    steps: list[tuple[int, int]] = []
    async with AsyncKhala(site.base) as khala:
        backup = (await khala.create_backup()).id
        site.judicator.operations.finish_backup(backup)
        file = tmp_path / "saved.tar"
        await khala.download_backup(
            backup, file, progress=lambda at, size: steps.append((at, size))
        )
    assert ranges == ["bytes=0-", "bytes=4-", "bytes=8-"]
    assert file.read_bytes() == ARCHIVE
    assert steps == [(at, len(ARCHIVE)) for at in (0, 4, 8, len(ARCHIVE))]
    assert list(tmp_path.iterdir()) == [file]


async def test_half_a_download_is_no_backup(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncKhala(site.base, patience_s=0.0) as khala:
        backup = (await khala.create_backup()).id
        site.judicator.operations.finish_backup(backup)
        with monkeypatch.context() as patched:
            breaking(patched, times=1000, size=0)
            with pytest.raises(Unavailable, match="the line broke"):
                await khala.download_backup(backup, tmp_path / "saved.tar")
        seen = await khala.get_backup(backup)

        async def other(*_: object) -> Backup:
            return msgspec.structs.replace(seen, size_bytes=len(ARCHIVE) + 7)

        monkeypatch.setattr(AsyncKhala, "get_backup", other)
        with pytest.raises(NotPossible, match=f"has {len(ARCHIVE) + 7} bytes, and {len(ARCHIVE)}"):
            await khala.download_backup(backup, tmp_path / "saved.tar")
    assert list(tmp_path.iterdir()) == []


async def test_where_it_is_to_be_looked_at_is_told(site: Site) -> None:
    async with site.http.post(site.url(BACKUPS)) as response:
        made = await response.json()
        assert (response.status, response.headers["Location"]) == (202, f"{BACKUPS}/{made['id']}")


async def test_a_part_of_the_archive(site: Site) -> None:
    async with AsyncKhala(site.base) as khala:
        backup = (await khala.create_backup()).id
    site.judicator.operations.finish_backup(backup)
    address = site.url(f"{BACKUPS}/{backup}/archive")
    async with site.http.get(address, headers={"Range": "bytes=11-"}) as response:
        assert (response.status, await response.read()) == (206, ARCHIVE[11:])
        whole = f"bytes 11-{len(ARCHIVE) - 1}/{len(ARCHIVE)}"
        assert response.headers["Content-Range"] == whole
    async with site.http.get(address, headers={"Range": "bytes=99-"}) as response:
        told = response.headers["Content-Range"]
        assert (response.status, told) == (416, f"bytes */{len(ARCHIVE)}")
    async with site.http.head(address) as response:
        assert response.headers["Content-Length"] == str(len(ARCHIVE))


@pytest.mark.parametrize(
    ("judicator", "status", "code"),
    [("x", 404, "not_found"), ("not a name", 422, "validation_failed")],
)
async def test_a_judicator_that_is_not_there(
    site: Site, judicator: str, status: int, code: str
) -> None:
    found, problem = await ask(site, "POST", BACKUPS, {"judicator": judicator})
    assert (found, problem["code"]) == (status, code)


async def test_one_that_cannot_be_asked_is_named_and_its_backups_are_not_denied(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    view_from = JudicatorClient.view_from

    async def without_one(self: JudicatorClient, address: str, timeout_s: float) -> ClusterView:
        view = await view_from(self, address, timeout_s)
        view.members.extend(map(JudicatorName, ("judicator", "b")))
        return view

    async def silent(*_: object, **__: object) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(JudicatorClient, "view_from", without_one)
    monkeypatch.setattr("roles.gateway.cluster.FRESH_S", -1.0)
    async with AsyncKhala(site.base, patience_s=0.1) as khala:
        backup = (await khala.create_backup()).id
        assert (await khala.backups()).unreachable == ["b"]
        assert (await khala.get_backup(backup)).id == backup
        with pytest.raises(Unavailable, match="may be on b, which cannot be asked"):
            await khala.get_backup("f" * 16)
        with pytest.raises(Unavailable, match="judicator b cannot be asked"):
            await khala.create_backup("b")
        monkeypatch.setattr(JudicatorClient, "ask_at", silent)
        found = await khala.backups()
        assert (found.items, found.unreachable) == ([], ["b", "judicator"])
