"""Words for tasks, and filters, as people write them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from khala.cli import cli
from khala.client import AsyncKhala
from khala.model.errors import NotFound, Rejected
from khala.protocol.v2 import Job, JobPage, Page
from roles.client.connection import Connection
from roles.client.selectors import filter_of, parameters_of, select, select_job, select_one
from tests.unit.client.test_jobs import a_job

JOB = "6b04d4787d852fb9eb000000"
TASK = "6b04d4787d852fb9eb7f7a4e"


class Known:
    """Answers of a gateway that has one job, and no tasks but its members."""

    async def get_job(self, job: str) -> Job:
        assert job == JOB
        return a_job()

    async def list_jobs(self, *, limit: int, cursor: str | None) -> JobPage:
        return JobPage(items=[a_job()], next_cursor=None)

    async def list_page(self, *, filters: dict[str, str], limit: int, cursor: str | None) -> Page:
        # What was submitted before cannot have an id that begins so.
        assert filters["created_after"] == "2061-05-04T02:39:55+00:00"
        assert (filters["id_prefix"], filters["order"]) == ("abcdef", "oldest")
        return Page(items=[], next_cursor=None if cursor else "second")


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    made = Connection(url="http://g", token=None, history_path=tmp_path / "h.json")
    for each in (TASK, JOB):
        made.remember(each)
    return made


def chosen(connection: Connection, *words: str, jobs: bool = False) -> list[str]:
    return asyncio.run(select(cast(AsyncKhala, Known()), connection, words, jobs=jobs))


def test_ids_last_and_members(connection: Connection) -> None:
    assert chosen(connection, f"last~1,{TASK}", "last", jobs=True) == [TASK, JOB]
    two, four = JOB[:-6] + "000003", JOB[:-6] + "000005"
    assert chosen(connection, f"{JOB}:2-5:2") == [two, four]
    assert chosen(connection, "last:2", f"{JOB[:16]}:4") == [two, four]


@pytest.mark.parametrize(
    ("word", "error", "words"),
    [
        ("nonsense", Rejected, "names no task"),
        (f"{JOB}:1000", NotFound, "has no task 1000; its indexes are 0-999"),
        (f"{JOB}:0-99999", Rejected, "names 100000 tasks"),
        (f"{JOB}:5-1", Rejected, "goes up"),
        (f"{TASK}:1", Rejected, "a job is needed"),
        ("last", Rejected, f"names job {JOB}, a task is needed: one of its tasks, as {JOB}:0-99"),
        ("abcdef:1", NotFound, "no job begins with abcdef"),
        ("abcdef", NotFound, "no task begins with abcdef"),
    ],
)
def test_a_word_that_names_nothing_is_named(
    connection: Connection, word: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        chosen(connection, word)


def test_one_is_one(connection: Connection) -> None:
    khala = cast(AsyncKhala, Known())
    assert asyncio.run(select_one(khala, connection, "last", jobs=True)) == JOB
    assert asyncio.run(select_job(khala, connection, JOB[:8])) == JOB
    with pytest.raises(Rejected, match="names 2 tasks"):
        asyncio.run(select_one(khala, connection, f"{JOB}:1-2"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("state=queued", {"state": ["queued"]}),
        ("state=queued,state=running,user=7", {"state": ["queued", "running"], "user": 7}),
        ("q=alpha hw=3,user=7", {"q": "alpha hw=3", "user": 7}),
        ("label=hw=3,label=set:a", {"label": ["hw=3", "set=a"]}),
        (f"job={JOB},name=a b", {"job": JOB, "name": "a b"}),
    ],
)
def test_a_filter(text: str, wanted: dict[str, Any]) -> None:
    assert filter_of(text) == wanted


def test_a_filter_as_parameters() -> None:
    wanted = {"state": "queued,running", "user": "7"}
    assert parameters_of(filter_of("state=queued,state=running,user=7")) == wanted


@pytest.mark.parametrize("text", ["", "state", "colour=red", "state=queued,", "user=1,user=2"])
def test_a_filter_that_is_none(text: str) -> None:
    with pytest.raises(Rejected, match="--filter: "):
        filter_of(text)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["--search", "alpha hw=3"], {"q": "alpha hw=3"}),
        (["--filter", "q=alpha hw=3,user=7"], {"q": "alpha hw=3", "user": "7"}),
        (["--search", "", "--state", "queued"], {"q": "", "state": "queued"}),
        (["--user", "7"], {"user": "7"}),
    ],
)
def test_a_list_is_asked_for_in_the_words_of_the_interface(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], asked: dict[str, str]
) -> None:
    seen: list[dict[str, str]] = []

    async def list_page(
        _: AsyncKhala, *, filters: dict[str, str], limit: int, cursor: str | None
    ) -> Page:
        seen.append(filters)
        return Page(items=[], next_cursor=None)

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(AsyncKhala, "list_page", list_page)
    done = CliRunner().invoke(cli, ["ls", *words], catch_exceptions=False)
    assert (done.exit_code, seen) == (0, [asked])
