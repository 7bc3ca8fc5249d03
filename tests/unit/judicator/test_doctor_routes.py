"""Who may say how a node is, and how much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from khala.model.errors import Rejected, TooLarge
from khala.model.limits import EXAMINATION_BYTES
from khala.pki.node import EXECUTOR, Peer
from khala.protocol.doctor import Report
from roles.judicator import doctor_routes
from roles.judicator.doctor_routes import DoctorRoutes

BODY = msgspec.msgpack.encode(Report(able=True, roles=(EXECUTOR,), lines=[]))


class Kept:
    def __init__(self) -> None:
        self.names: list[str] = []

    async def keep(self, name: str, _role: str, _report: Report) -> None:
        self.names.append(name)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setattr(
        doctor_routes, "caller_of", lambda _: Peer(cluster="c", role=EXECUTOR, name="e")
    )
    return Kept()


async def keep(kept: Kept, name: str, body: bytes) -> None:
    await DoctorRoutes(cast(Any, kept)).keep(cast(Any, SimpleNamespace(body=body)), name)


async def test_an_executor_speaks_for_itself_alone(kept: Kept) -> None:
    await keep(kept, "e", BODY)
    with pytest.raises(Rejected, match="executor e may not say how 'other' is"):
        await keep(kept, "other", BODY)
    assert kept.names == ["e"]


async def test_a_report_that_is_none_or_too_large_is_refused(kept: Kept) -> None:
    with pytest.raises(TooLarge, match=f"up to {EXAMINATION_BYTES} bytes"):
        await keep(kept, "e", bytes(EXAMINATION_BYTES + 1))
    with pytest.raises(Rejected, match="body"):
        await keep(kept, "e", b"")
    assert kept.names == []
