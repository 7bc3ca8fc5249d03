"""The client's policy: where a request goes next, and what it becomes when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from khala.model.errors import NotFound, OutcomeUnknown, Rejected, TooLarge, Unavailable
from khala.model.ids import TaskId
from khala.model.spec import Part
from khala.net.address_book import AddressBook
from khala.net.client import JudicatorClient
from khala.net.credentials import Credentials
from khala.net.secrets import SecretFile
from khala.protocol.rpc import ListTasks, SearchTasks, SortKey
from tests.unit.gateway.double import JudicatorDouble
from tests.unit.gateway.test_kv2 import task_of

UNKNOWN = TaskId("0" * 24)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("s" * 32)
    path.chmod(0o600)
    return path


@asynccontextmanager
async def connected(
    secret_file: Path, *more: str
) -> AsyncIterator[tuple[JudicatorClient, JudicatorDouble]]:
    judicator = JudicatorDouble(secret_file)
    await judicator.start()
    client = JudicatorClient(
        AddressBook([judicator.address, *more]),
        Credentials(SecretFile(secret_file, flag="--secret-file")),
    )
    try:
        yield client, judicator
    finally:
        await client.close()
        await judicator.stop()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("khala.net.calls.PATIENCE_S", 0.0)


async def test_the_next_judicator_is_asked(secret_file: Path) -> None:
    async with connected(secret_file, "127.0.0.1:9") as (client, judicator):
        for _ in range(4):
            assert (await client.search(SearchTasks())).total == 0
        assert judicator.requests == 4


@pytest.mark.parametrize(
    "error", [NotFound("no"), TooLarge("big", field="task"), Rejected("bad", field="user")]
)
async def test_a_refusal_is_final(secret_file: Path, error: Rejected) -> None:
    async with connected(secret_file) as (client, judicator):
        judicator.broken = error
        with pytest.raises(type(error)) as raised:
            await client.get(UNKNOWN)
        assert (raised.value.message, raised.value.field) == (error.message, error.field)
        assert judicator.requests == 1


@pytest.mark.parametrize(
    "query",
    [ListTasks(words=("a",), limit=1), ListTasks(sort=SortKey.PRIORITY, limit=1)],
)
async def test_what_is_newer_is_asked_of_judicators_that_know_it(
    secret_file: Path, query: ListTasks
) -> None:
    """One that left words out would find every task, and somebody may be about to cancel these."""
    older = JudicatorDouble(secret_file)
    await older.start()
    older.broken = NotFound("there is nothing at /rpc/v1/tasks/list/newer")
    try:
        async with connected(secret_file, older.address) as (client, judicator):
            for _ in range(4):
                assert (await client.list_tasks(query)).tasks == []
            assert judicator.requests == 4
            judicator.broken = older.broken
            with pytest.raises(Unavailable, match="is older than what it was asked; upgrade it"):
                await client.list_tasks(query)
    finally:
        await older.stop()


async def test_a_defect_of_the_judicator_is_not_the_callers(secret_file: Path) -> None:
    async with connected(secret_file) as (client, _):
        with pytest.raises(Unavailable):
            async with client.open_part(UNKNOWN, Part.EXECUTE_INPUT):
                pytest.fail("there is no such part")


async def test_a_read_without_an_answer_is_unavailable(secret_file: Path) -> None:
    async with connected(secret_file) as (client, judicator):
        judicator.swallow = 1
        with pytest.raises(Unavailable):
            await client.search(SearchTasks())


async def test_a_submission_without_a_key_is_not_repeated(secret_file: Path) -> None:
    async with connected(secret_file) as (client, judicator):
        judicator.swallow = 1
        with pytest.raises(OutcomeUnknown):
            await client.submit(task_of())
        assert len(judicator.submitted) == 1


async def test_a_submission_says_what_it_needs(secret_file: Path) -> None:
    async with connected(secret_file) as (client, judicator):
        await client.submit(replace(task_of(), environment={"A": "b"}))
        assert [each.needs for each in judicator.submitted] == [1]


async def test_a_wrong_secret_says_so(secret_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("x" * 32)
    other.chmod(0o600)
    async with connected(secret_file) as (right, judicator):
        client = JudicatorClient(right.book, Credentials(SecretFile(other, flag="--secret-file")))
        with pytest.raises(Unavailable, match="--secret-file"):
            await client.search(SearchTasks())
        await client.close()
        assert judicator.searched == []


async def test_parts_come_in_pieces(secret_file: Path) -> None:
    async with connected(secret_file) as (client, judicator):
        data = bytes(1_000_000)
        task = judicator.add(task_of(execute_input=data))
        async with client.open_part(task.id, Part.EXECUTE_INPUT) as pieces:
            received = [piece async for piece in pieces]
        assert b"".join(received) == data
        assert len(received) > 1


async def test_a_silent_judicator_costs_a_try_not_a_request(
    secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(read_only, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    monkeypatch.setattr("khala.net.calls.READ_S", 0.2)
    async with (
        connected(secret_file, f"127.0.0.1:{port}") as (client, judicator),
        asyncio.timeout(5),
    ):
        task = judicator.add(task_of(execute_input=bytes(20_000)))
        for _ in range(2):
            async with client.open_part(task.id, Part.EXECUTE_INPUT) as pieces:
                assert sum([len(piece) async for piece in pieces]) == 20_000
    silent.close()
    await silent.wait_closed()
