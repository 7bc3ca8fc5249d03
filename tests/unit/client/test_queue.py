"""The queue in words."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import cast

import pytest

from khala.client import AsyncKhala
from khala.model.ids import TaskId
from khala.protocol.v2 import Explanation, Placement, Queue, QueueItem, UserLoad
from roles.client.describing import why_waiting
from roles.client.queue import show_queue
from roles.client.tables import Form

ITEM = QueueItem(
    position=1,
    id=TaskId("6b04d4787d852fb9eb7f7a4e"),
    name="sim\x1b[31m",
    user=7,
    priority=3,
    job=None,
    created_at=datetime(2026, 11, 24, tzinfo=UTC),
    waited_s=3700.0,
    needs={"cpus": 1.5},
    image="gcc",
    placement=Placement(require={"zone": "a"}, avoid={"arch": "arm64"}),
)
QUEUE = Queue(
    queued=10_000,
    queued_is_exact=False,
    held=2,
    oldest_queued_s=3700.0,
    items=[ITEM],
    users=[UserLoad(user=user, queued=9, held=1, running=0) for user in range(7)],
    more=True,
)


class Asked:
    """Answers with what it has."""

    def __init__(self, found: Queue) -> None:
        self._found = found

    async def queue(self, *, user: int | None, limit: int) -> Queue:
        return self._found


def shown(found: Queue, form: Form, capsys: pytest.CaptureFixture[str]) -> list[str]:
    khala = cast(AsyncKhala, Asked(found))
    assert asyncio.run(show_queue(khala, form, user=None, limit=20)) == 0
    return capsys.readouterr().out.splitlines()


def test_a_queue_is_summed_up_before_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(QUEUE, Form.TABLE, capsys)
    assert lines[0] == "more than 10,000 queued, 2 held; the oldest waits 1h"
    assert lines[1] == "user 0: 9 queued, 1 held, 0 running"
    assert lines[6] == "and 2 other users; -o json has them"
    assert lines[-1].split() == [
        *("1", ITEM.id, "sim\N{REPLACEMENT CHARACTER}[31m", "7", "3", "1h"),
        *("image=gcc", "cpus=1.5", "zone=a", "arch!=arm64"),
    ]


def test_names_alone_are_ids(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(QUEUE, Form.NAME, capsys) == [ITEM.id]


def test_an_empty_queue_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    empty = Queue(queued=0, held=0, oldest_queued_s=None, items=[], users=[], more=False)
    assert shown(empty, Form.TABLE, capsys) == ["0 queued, 0 held"]


def test_a_place_far_behind_is_told_as_that() -> None:
    seen = Explanation(state="queued", summary="", position=10_000, position_is_exact=False)  # type: ignore[arg-type]
    assert "  place more than 10000 in the queue" in list(why_waiting(seen))
