"""What the cluster says of itself: every reason for waiting has a sentence."""

from __future__ import annotations

from khala.core.ports import Conn
from khala.core.session import Session
from khala.model.executor import JudicatorRecord
from khala.model.ids import BootId, ExecutorName, Incarnation, JudicatorName, SessionNo
from roles.judicator.cluster import notes_of


def judicators(count: int) -> list[JudicatorRecord]:
    return [
        JudicatorRecord(
            name=JudicatorName(f"j{n}"),
            address=f"127.0.0.1:400{n}",
            incarnation=Incarnation(str(n)),
            leader=n == 0,
        )
        for n in range(count)
    ]


def executor(*, conn: int | None = 1, accepts: bool = True) -> Session:
    return Session(
        name=ExecutorName("e1"),
        number=SessionNo(1),
        boot=BootId("b"),
        slots=2,
        last_seen_at=0.0,
        conn=Conn(conn) if conn is not None else None,
        accepts=accepts,
    )


def test_a_healthy_cluster_has_nothing_to_say() -> None:
    assert notes_of([executor()], judicators(3), serving=True) == []


def test_each_reason_to_wait_is_named() -> None:
    full = notes_of([executor(accepts=False)], judicators(3), serving=True)
    assert len(full) == 1
    assert "e1 takes no work" in full[0]
    assert "disk" in full[0]
    for sessions in ([], [executor(conn=None)]):
        assert "No executor is connected" in notes_of(sessions, judicators(1), serving=True)[0]
    assert "not accepted" in notes_of([executor()], judicators(3), serving=False)[0]
