"""`events`, `ls --watch` and `open` on a real gateway, whose judicator says what happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from khala.client import AsyncKhala, Row
from khala.model.errors import NotFound, Rejected
from khala.model.ids import TaskId
from khala.model.task import TaskState
from roles.client import watching
from roles.client.connection import Connection
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.documents import task_of
from tests.unit.gateway.double import START
from tests.unit.gateway.test_events import PATIENCE_S, publish, told

__all__ = ["told"]

TASK = task_of({"stages": {"execute": {"command": "true"}}})
NOBODY = "6b04d4787d852fb9eb7f7a4e"


@pytest.fixture
def connection(site: Site, tmp_path: Path) -> Connection:
    return Connection(url=site.base, token=None, history_path=tmp_path / "submitted.json")


@pytest.fixture
async def khala(told: Site) -> AsyncIterator[AsyncKhala]:
    async with AsyncKhala(told.base) as khala:
        yield khala


async def until_heard(told: Site, work: asyncio.Future[int]) -> int:
    """Something goes on happening until it has heard enough."""
    async with asyncio.timeout(PATIENCE_S):
        while not work.done():
            await publish(told)
            await asyncio.sleep(0.05)
    return work.result()


async def test_events_are_lines_of_json(
    told: Site,
    khala: AsyncKhala,
    connection: Connection,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = watching.Wanted(topics=("tasks",), count=2)
    work = asyncio.ensure_future(watching.print_events(khala, connection, wanted))
    assert await until_heard(told, work) == 0
    hello, *events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert hello["event"] == "hello"
    assert [event["event"] for event in events] == ["task", "task"]
    assert all(event["id"] for event in events)


async def test_a_task_is_a_topic_by_the_word_for_it(
    told: Site,
    khala: AsyncKhala,
    connection: Connection,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What happens to others is not told; that nothing does is seen from the one that comes."""
    wanted = watching.Wanted(topics=("queue,task:last",), count=1)
    connection.remember(told.judicator.add(TASK).id)
    work = asyncio.ensure_future(watching.print_events(khala, connection, wanted))
    assert await until_heard(told, work) == 0
    *_, event = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert event["event"] == "queue"


async def test_of_what_is_not_there_nothing_is_waited_for(
    khala: AsyncKhala, connection: Connection
) -> None:
    with pytest.raises(NotFound):
        await watching.print_events(khala, connection, watching.Wanted(topics=(f"task:{NOBODY}",)))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"topics": ("nonsense",)}, "TOPIC: tasks, nodes, queue, task:TASK or job:JOB"),
        ({"topics": ("tasks,",)}, "'' was given"),
        ({"topics": ("task:",)}, "'task:' was given"),
        ({"topics": ("task:xyz",)}, "'xyz' names no task"),
        ({"topics": ("job:xyz",)}, "'xyz' names no task"),
        ({"label": ("course",)}, "--label: KEY=VALUE is expected, 'course'"),
        ({"label": ("=x",)}, "label"),
        ({"after": "yesterday"}, "after: "),
    ],
)
async def test_what_names_no_event(
    khala: AsyncKhala, connection: Connection, given: dict[str, tuple[str, ...]], says: str
) -> None:
    wanted = watching.Wanted(**given)  # type: ignore[arg-type]
    with pytest.raises(Rejected) as refused:
        await watching.print_events(khala, connection, wanted)
    assert says in refused.value.message


def row_of(name: str, state: TaskState) -> Row:
    return Row(
        id=TaskId(NOBODY[:-1] + name),
        user=0,
        name=name,
        state=state,
        kv2_status=0,
        reason=None,
        executor=None,
        attempt=0,
        created_at=START,
        updated_at=START,
        done=False,
    )


@pytest.mark.parametrize("screen", [False, True])
async def test_a_list_is_shown_again_when_something_has_changed(
    told: Site, khala: AsyncKhala, monkeypatch: pytest.MonkeyPatch, screen: bool
) -> None:
    """On a screen all of it, elsewhere what is new."""
    monkeypatch.setattr(watching, "_PAUSE_S", 0.0)
    queued, running = TaskState.QUEUED, TaskState.RUNNING
    lists = [
        [row_of("1", queued), row_of("2", queued)],
        [row_of("1", queued), row_of("2", running), row_of("3", queued)],
    ]
    shown: list[tuple[list[str], bool]] = []

    async def load() -> list[Row]:
        return lists[len(shown)]

    def show(rows: list[Row], head: bool) -> None:
        shown.append(([row.name for row in rows], head))

    watch = watching.Watch(load=load, show=show, screen=screen, looks=2)
    assert await until_heard(told, asyncio.ensure_future(watching.watch_list(khala, watch))) == 0
    again = (["1", "2", "3"], True) if screen else (["2", "3"], False)
    assert shown == [(["1", "2"], True), again]


async def test_a_page_is_that_of_a_task_that_there_is(
    site: Site,
    khala: AsyncKhala,
    connection: Connection,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = site.judicator.add(TASK).id
    assert await watching.open_page(khala, connection, task, only_print=True) == 0
    assert await watching.open_page(khala, connection, None, only_print=True) == 0
    assert capsys.readouterr().out == f"{site.base}/tasks/{task}\n{site.base}/\n"
    with pytest.raises(NotFound):
        await watching.open_page(khala, connection, NOBODY, only_print=True)
