"""A name is one process's at a time, whichever judicator it is connected to."""

from __future__ import annotations

from khala.model.ids import ExecutorName
from khala.protocol.executor import NameInUse, Welcome
from khala.store.memory import run_now
from tests.unit.core.desk import Desk
from tests.unit.core.test_recovery import open_elsewhere, record_of


def test_a_second_process_of_a_name_at_another_judicator_is_refused(desk: Desk) -> None:
    open_elsewhere(desk)
    run_now(desk.memory.sessions.touch_sessions([ExecutorName("E")]))
    second = desk.hello(1, boot="b2")
    assert desk.take(second) == [NameInUse(name=ExecutorName("E"))]
    assert desk.closed == [second]
    assert record_of(desk).boot == "b1"
    # When the first one is gone, the name is free.
    run_now(desk.memory.sessions.part_sessions([ExecutorName("E")]))
    assert isinstance(desk.take(desk.hello(2, boot="b2"))[0], Welcome)
