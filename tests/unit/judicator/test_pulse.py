"""A judicator serves while it can prove that it could write, whatever its store does instead."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

from khala.model.ids import JudicatorName
from roles.judicator import chores, serve
from roles.judicator.chores import Chores


class Store:
    """Its pulse comes back until it hangs; then not even a cancellation ends it."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()

    async def pulse(self, _: JudicatorName) -> None:
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                continue


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "PULSE_TTL_S", 0.02)
    monkeypatch.setattr(chores, "PULSE_INTERVAL_S", 0.005)


async def _until(dispatcher: Any, *, serving: bool) -> None:
    async with asyncio.timeout(60):
        while dispatcher.serving is not serving:
            await asyncio.sleep(0.005)


def _chores(dispatcher: Any, store: Store) -> Chores:
    nothing: Any = None
    sessions: Any = store
    return Chores(dispatcher, nothing, sessions, lambda: True)


async def test_a_pulse_that_hangs_is_no_proof_and_one_that_comes_back_is() -> None:
    dispatcher, store = SimpleNamespace(serving=False), Store()
    pulse = asyncio.ensure_future(_chores(dispatcher, store).pulse(JudicatorName("j1")))
    try:
        await _until(dispatcher, serving=True)
        store.gate.clear()
        await _until(dispatcher, serving=False)
        store.gate.set()
        await _until(dispatcher, serving=True)
    finally:
        store.gate.set()
        pulse.cancel()


async def test_a_store_that_hangs_for_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "PULSE_HUNG_S", 0.1)
    dispatcher, store = SimpleNamespace(serving=True), Store()
    own = _chores(dispatcher, store)
    store.gate.clear()
    pulse = asyncio.ensure_future(own.pulse(JudicatorName("j1")))
    try:
        async with asyncio.timeout(60):
            while not own.hung:
                await asyncio.sleep(0.005)
            store.gate.set()
            while own.hung:
                await asyncio.sleep(0.005)
    finally:
        store.gate.set()
        pulse.cancel()


async def test_the_supervisor_is_told_of_a_store_that_hangs() -> None:
    reader, writer = os.pipe()
    await serve._feed_watchdog(writer, lambda: True)
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)
