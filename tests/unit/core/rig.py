"""An executor's reactor on a table: orders in, messages and orders to the host out."""

from __future__ import annotations

from msgspec.structs import replace

from khala.core.agent import Agent, Identity
from khala.model.executor import ImageInfo
from khala.model.ids import AttemptNo, BootId, ExecutorName, JudicatorName, SessionNo, TaskId
from khala.model.outcome import Ending, Outcome, Reason
from khala.model.spec import TaskSpec
from khala.protocol.executor import (
    Assign,
    FromExecutorMessage,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Run,
    Welcome,
)
from tests.unit.core.desk import SPEC

BOOT = BootId("b1")
DONE = Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK)


class Rig:
    """`khala.core.agent.Host`; every message must be taken by the test."""

    def __init__(self, spool: dict[Run, Outcome] | None = None) -> None:
        self.time = 100.0
        self.sent: list[FromExecutorMessage] = []
        #: start, stop, forget and disconnect, in their order.
        self.orders: list[tuple[str, object]] = []
        self.journal: set[Run] = set()
        identity = Identity(
            name=ExecutorName("E"),
            boot=BOOT,
            version="1",
            enforcement="none",
            slots=2,
            capacity={"memory": 8},
            images=(ImageInfo(name="clang-17", identity="", size_bytes=0),),
        )
        self.agent = Agent(identity, self, spool if spool is not None else {})

    # ---- khala.core.agent.Host --------------------------------------------------------------

    def send(self, message: FromExecutorMessage) -> None:
        self.sent.append(message)

    def disconnect(self, why: str) -> None:
        self.orders.append(("disconnect", why))

    def has_started(self, run: Run) -> bool:
        return run in self.journal

    def start(self, run: Run, spec: TaskSpec) -> None:
        self.journal.add(run)
        self.orders.append(("start", run))

    def stop(self, run: Run, grace_s: float) -> None:
        self.orders.append(("stop", run) if grace_s == 0 else ("ask", (run, grace_s)))

    def forget(self, run: Run) -> None:
        self.journal.discard(run)
        self.orders.append(("forget", run))

    def now(self) -> float:
        return self.time

    # ---- events -----------------------------------------------------------------------------

    def online(self, session: int = 1, *, kill: list[Run] | None = None) -> None:
        """Connect and be welcomed; the Hello and the first heartbeat are taken."""
        self.agent.on_connected()
        assert isinstance(self.take()[0], Hello)
        self.welcome(session, kill=kill)
        assert isinstance(self.take()[0], Heartbeat)

    def welcome(self, session: int, *, boot: str = BOOT, kill: list[Run] | None = None) -> None:
        self.agent.on_message(
            Welcome(
                session=SessionNo(session),
                boot=BootId(boot),
                judicator=JudicatorName("J"),
                peers=["J:4000"],
                kill=kill or [],
            )
        )

    def assign(self, run: Run, *, session: int = 1, **choices: object) -> None:
        """`choices` are fields of the spec."""
        spec = replace(SPEC, **choices)
        self.agent.on_message(Assign(session=SessionNo(session), run=run, spec=spec))

    def acknowledge(self, *, session: int = 1, serving: bool = True, peers: int = 1) -> None:
        self.agent.on_message(
            HeartbeatAck(
                session=SessionNo(session),
                seq=1,
                serving=serving,
                peers=[f"J{n}:4000" for n in range(peers)],
            )
        )

    def advance(self, seconds: float) -> None:
        """One tick after so much time."""
        self.time += seconds
        self.agent.on_tick()

    # ---- what came of it --------------------------------------------------------------------

    def take(self) -> list[FromExecutorMessage]:
        taken, self.sent = self.sent, []
        return taken

    def take_orders(self) -> list[tuple[str, object]]:
        taken, self.orders = self.orders, []
        return taken

    def nothing_left(self) -> None:
        assert self.sent == []
        assert self.orders == []


def run_no(number: int, attempt: int = 1) -> Run:
    return (TaskId(f"{number:024x}"), AttemptNo(attempt))
