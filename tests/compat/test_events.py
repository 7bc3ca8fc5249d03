"""The event stream while processes die: the end of every task is told, or that something may be
missing is."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from khala import client
from khala.client import EventQuery, NewTask, StageOf
from khala.protocol.v2 import EventHello, EventReset, EventTask
from tests.cluster.harness import Khala, wait_until

USER = 4711
TASKS = 24
PATIENCE_S = 180.0


class Listener:
    """Learns of the ends of tasks from the stream alone, until the process ends; reads only where
    it is told to."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.ended: set[str] = set()
        self.resets = 0
        self.listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        query = EventQuery(topics=("tasks", "nodes", "queue"), user=USER)
        with (
            client.Khala(self._url, patience_s=PATIENCE_S) as khala,
            closing(khala.events(query)) as events,
        ):
            for event in events:
                match event:
                    case EventTask() if event.data.done:
                        self.ended.add(event.data.id)
                    case EventHello() | EventReset():
                        self.resets += isinstance(event, EventReset)
                        rows = khala.tasks(user=USER)
                        self.ended.update(row.id for row in rows if row.done)
                        self.listening.set()


def test_no_end_is_missed_without_a_word(
    stack: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    [data_dir] = tmp_path_factory.getbasetemp().glob("compat0/data")
    processes = Khala(data_dir)
    listener = Listener(stack)
    assert listener.listening.wait(PATIENCE_S)
    submitted: set[str] = set()
    with client.Khala(stack, patience_s=PATIENCE_S) as khala:
        for number in range(TASKS):
            submitted.add(khala.submit(NewTask(execute=StageOf("sleep 0.1"), user=USER)))
            if number == TASKS // 3:
                processes.kill9("judicator-serve")
            elif number == 2 * TASKS // 3:
                processes.kill9("gateway")
        wait_until(lambda: listener.ended >= submitted, PATIENCE_S, "the end of every task")
    assert listener.resets
