"""Files of documents: what is wrong with them is said before anybody is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from khala.client import AsyncKhala
from khala.client.jobs import RetriedJob
from khala.model.errors import Rejected
from khala.protocol.v2 import Batch, BatchItem
from roles.client import document_acts, job_acts
from roles.client.connection import Connection

TASK = '{"stages": {"execute": {"command": "true"}}}'
JOB = "6b04d4787d852fb9eb000000"


class Gateway:
    """Accepts what it is sent."""

    def __init__(self, *, new: bool = True) -> None:
        self.sent: list[Mapping[str, object]] = []
        self.new = new

    async def submit_batch(self, documents: Sequence[Mapping[str, object]]) -> Batch:
        self.sent += documents
        items = [BatchItem(index=n, id=f"{n:024x}") for n in range(len(documents))]  # type: ignore[arg-type]
        return Batch(accepted=len(items), items=items)

    async def retry_job(self, job: str, *, only: Sequence[str] = ()) -> RetriedJob:
        return RetriedJob(id=job.replace("6b", "7c"), size=2, new=self.new)

    @property
    def client(self) -> AsyncKhala:
        return cast(AsyncKhala, self)


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    return Connection(url="http://g", token=None, history_path=tmp_path / "history")


async def test_lines_that_are_no_documents_are_all_named_and_nothing_is_sent(
    tmp_path: Path, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "list.jsonl"
    file.write_text(f"{TASK}\n\nxyz\n{TASK[:9]}\n7\n")
    gateway = Gateway()
    with pytest.raises(Rejected, match=r"-f: 3 lines of .* and nothing was submitted; repair"):
        await document_acts.batch(gateway.client, connection, str(file))
    told = capsys.readouterr().err
    assert told.splitlines() == [
        f"khala: {file}:{number}: no document in JSON: {why}"
        for number, why in (
            (3, "invalid character (byte 0)"),
            (4, "it ends, or an escape in it does, before it is complete"),
            (5, "an object is needed"),
        )
    ]
    with pytest.raises(Rejected, match="nothing was submitted"):
        await document_acts.plan_batch(gateway.client, str(file))
    assert capsys.readouterr().err == told
    assert gateway.sent == []


async def test_a_wrong_file_is_not_told_line_by_line(
    tmp_path: Path, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a program"
    file.write_text("int main() {}\n" * 1000)
    with pytest.raises(Rejected, match="-f: 1000 lines of"):
        await document_acts.batch(Gateway().client, connection, str(file))
    assert len(capsys.readouterr().err.splitlines()) == 20


async def test_sound_lines_are_sent(
    tmp_path: Path, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "list.jsonl"
    file.write_text(f"{TASK}\n\n{TASK}\n")
    gateway = Gateway()
    assert await document_acts.batch(gateway.client, connection, str(file)) == 0
    assert len(gateway.sent) == 2
    assert capsys.readouterr().out == f"{0:024x}\n{1:024x}\n"


async def test_what_is_no_document_is_said_in_words(tmp_path: Path, connection: Connection) -> None:
    file = tmp_path / "task.json"
    for text, why in (("7", "an object or a list is needed"), ("", "it is empty")):
        file.write_text(text)
        with pytest.raises(Rejected, match=f"holds no document, nor a list of them: {why}"):
            await document_acts.apply(Gateway().client, connection, str(file))


@pytest.mark.parametrize(
    ("new", "said"),
    [(True, "2 tasks queued again, as job 7c"), (False, "nothing was queued: 2 tasks had been")],
)
async def test_a_job_that_is_retried_twice_is_queued_once(
    connection: Connection, capsys: pytest.CaptureFixture[str], new: bool, said: str
) -> None:
    assert await job_acts.retry(Gateway(new=new).client, connection, JOB, ()) == 0
    told = capsys.readouterr()
    assert told.out == "7c04d4787d852fb9eb000000\n"
    assert told.err.startswith(f"khala: {said}")
