"""The whole conversation between an Executor and its Judicator.

One WebSocket, frames of these messages, ordered within a connection. Nothing relies on delivery:
whatever is lost is repaired by the inventories in Hello and Heartbeat (what runs, what is
spooled), and `attempt` decides at the store whose result counts. Large payloads and outputs go
by HTTP beside it (`khala.protocol.rpc`).
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from khala.model.enforcement import Enforcement
from khala.model.executor import CacheCounts, ImageInfo
from khala.model.ids import AttemptNo, BootId, ExecutorName, JudicatorName, SessionNo, TaskId
from khala.model.outcome import Outcome
from khala.model.spec import Network, TaskSpec
from khala.model.task import Progress
from khala.model.wants import Amounts, Labels

#: The name of one try at a task.
Run: TypeAlias = tuple[TaskId, AttemptNo]


class Hello(Struct, frozen=True, kw_only=True, tag="hello"):
    """First message on a connection: who I am and what I hold."""

    name: ExecutorName
    boot: BootId
    version: str
    #: For people; what a program may rely on is in `enforces`.
    enforcement: str
    slots: int
    running: list[Run] = []
    spooled: list[Run] = []
    #: Root file systems it can run tasks in, beside its own programs.
    images: tuple[ImageInfo, ...] = ()
    #: That tasks may have there; none of an executor that is too old to say.
    networks: tuple[Network, ...] = ()
    enforces: Enforcement | None = None
    #: Which fields of a task it knows (see `khala.model.capabilities`).
    speaks: int = 0
    #: What its tasks may take up together, and its labels.
    capacity: Amounts = {}
    labels: Labels = {}


class Heartbeat(Struct, frozen=True, kw_only=True, tag="heartbeat"):
    """Every HEARTBEAT_S, and at once when `accepts` or `ending` changes."""

    session: SessionNo
    seq: int
    running: list[Run]
    spooled: list[Run]
    #: False: takes nothing new (it is stopping, its disk or its spool is full). Which slots are
    #: free follows from the leases and is not said.
    accepts: bool
    #: Of the cache of compile stages; for people.
    cache: CacheCounts | None = None
    #: Runs that were cancelled and have time to end: each takes up a slot still, and together this.
    ending: int = 0
    ending_amounts: Amounts = {}


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    """A spooled result; repeated with every heartbeat until Recorded or Abandon."""

    session: SessionNo
    run: Run
    outcome: Outcome


class ProgressReport(Struct, frozen=True, kw_only=True, tag="progress"):
    session: SessionNo
    run: Run
    progress: Progress


class Dead(Struct, frozen=True, kw_only=True, tag="dead"):
    """I started that attempt once and no longer have it; it must not be started again."""

    session: SessionNo
    run: Run


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """I could not run it, for a reason of mine (disk full, payload unreachable); not a crash."""

    session: SessionNo
    run: Run
    why: str
    #: Nothing is wrong with it here: it was given ahead, and waited for a slot too long.
    waited: bool = False


class Welcome(Struct, frozen=True, kw_only=True, tag="welcome"):
    """The session is open; `kill` names runs of the inventory that are no longer wanted."""

    session: SessionNo
    boot: BootId
    judicator: JudicatorName
    #: RPC addresses (host:port) of every serving judicator.
    peers: list[str]
    kill: list[Run]


class HeartbeatAck(Struct, frozen=True, kw_only=True, tag="heartbeat_ack"):
    session: SessionNo
    seq: int
    #: False: this judicator cannot record results now; look for another one.
    serving: bool
    peers: list[str]


class Assign(Struct, frozen=True, kw_only=True, tag="assign"):
    session: SessionNo
    run: Run
    spec: TaskSpec


class Kill(Struct, frozen=True, kw_only=True, tag="kill"):
    """Stop the run if it runs, and drop whatever it left."""

    session: SessionNo
    run: Run
    #: From SIGTERM to the end of what runs.
    grace_s: float = 0.0


class Recorded(Struct, frozen=True, kw_only=True, tag="recorded"):
    """These results are in the store for good; their spool entries may go."""

    runs: list[Run]


class Abandon(Struct, frozen=True, kw_only=True, tag="abandon"):
    """The store has moved on; drop these runs and their results."""

    runs: list[Run]


class SessionLost(Struct, frozen=True, kw_only=True, tag="session_lost"):
    """The store no longer knows this session as current: say Hello again."""

    session: SessionNo


class NameInUse(Struct, frozen=True, kw_only=True, tag="name_in_use"):
    """Another process holds a live session under this name."""

    name: ExecutorName


FromExecutorMessage: TypeAlias = Hello | Heartbeat | Finished | ProgressReport | Dead | Refused
ToExecutorMessage: TypeAlias = (
    Welcome | HeartbeatAck | Assign | Kill | Recorded | Abandon | SessionLost | NameInUse
)
