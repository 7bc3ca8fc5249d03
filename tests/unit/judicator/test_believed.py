"""Many who ask at once, and soon after, cost one question."""

from __future__ import annotations

import asyncio

import pytest

from khala.model.errors import Unavailable
from roles.judicator import believed
from roles.judicator.believed import Believed


class Store:
    def __init__(self) -> None:
        self.asked = 0
        self.broken = False

    async def count(self) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        if self.broken:
            raise Unavailable("no primary")
        return self.asked


def test_one_question_answers_many() -> None:
    async def scene() -> list[int]:
        counted = Believed(store.count)
        return await asyncio.gather(*(counted.load() for _ in range(9)))

    store = Store()
    assert asyncio.run(scene()) == [1] * 9


def test_an_old_answer_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> list[int]:
        counted = Believed(store.count)
        return [await counted.load() for _ in range(3)]

    monkeypatch.setattr(believed, "AGE_S", -1.0)
    monkeypatch.setattr(believed, "SHARE", -1e12)
    store = Store()
    assert asyncio.run(scene()) == [1, 2, 3]


def test_a_failure_is_not_remembered() -> None:
    async def scene() -> int:
        counted = Believed(store.count)
        with pytest.raises(Unavailable):
            await counted.load()
        store.broken = False
        return await counted.load()

    store = Store()
    store.broken = True
    assert asyncio.run(scene()) == 2
