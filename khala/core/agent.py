"""The Executor's reactor: its link to one Judicator at a time, and the attempts it holds.

An attempt goes `assigned -> journalled -> running -> spooled -> gone`. Two rules carry the
promises made to users: an attempt is written to the started-journal before it may start, and an
Assign for a journalled attempt that is neither running nor spooled is answered Dead (R1), so no
attempt number ever runs twice; and a result stays spooled, and is sent again with every
heartbeat, until a Judicator says Recorded or Abandon, so no result is lost on the way.

A number that was dropped stays dropped for the rest of the session, though the journal may forget
it: a repeated or overtaken Assign must not bring it back.

Sessions only grow (R2): a Welcome for another boot, or not above the highest session seen, and
orders for any session but the current one are ignored; they are echoes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from khala.core.load import Load
from khala.core.patience import Patience
from khala.model.capabilities import CAPABILITY
from khala.model.enforcement import Enforcement
from khala.model.executor import CacheCounts, ImageInfo
from khala.model.ids import BootId, ExecutorName, SessionNo
from khala.model.limits import (
    HEARTBEAT_S,
    LINK_TIMEOUT_S,
    SPOOL_ITEMS,
)
from khala.model.outcome import Outcome
from khala.model.spec import Network, TaskSpec
from khala.model.task import Progress
from khala.model.wants import Amounts, Labels, shortages
from khala.protocol.executor import (
    Abandon,
    Assign,
    Dead,
    Finished,
    FromExecutorMessage,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Kill,
    NameInUse,
    ProgressReport,
    Recorded,
    Refused,
    Run,
    SessionLost,
    ToExecutorMessage,
    Welcome,
)

#: Results sent with one heartbeat; the others take their turn with the next ones. A spool that
#: filled up while no Judicator could write must not come as one burst every two seconds.
RESEND_ITEMS = 256
#: Dropped runs that are remembered; far more than an Assign can be late within one session.
DROPPED_ITEMS = 4096


class Host(Protocol):
    """What the shell does for the agent. None of it may call back into the agent before the
    current handler has returned."""

    def send(self, message: FromExecutorMessage) -> None: ...
    def disconnect(self, why: str) -> None: ...
    def has_started(self, run: Run) -> bool:
        """Whether the started-journal (kept over restarts) knows the attempt."""
        ...

    def start(self, run: Run, spec: TaskSpec) -> None:
        """Journal the attempt, then run it; ends in `on_spooled`, `on_refused` or `on_lost`."""
        ...

    def stop(self, run: Run, grace_s: float) -> None:
        """End it if it runs, within that time after SIGTERM, or at once; `on_gone` follows."""
        ...

    def forget(self, run: Run) -> None:
        """Delete its spool entry."""
        ...

    def now(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    name: ExecutorName
    boot: BootId
    version: str
    enforcement: str
    slots: int
    images: tuple[ImageInfo, ...] = ()
    networks: tuple[Network, ...] = (Network.NONE, Network.LOOPBACK)
    #: Stamped on every result, too.
    enforces: Enforcement | None = None
    speaks: int = CAPABILITY
    capacity: Amounts = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)

    def why_not(self, spec: TaskSpec, load: Load, running: Collection[Run]) -> str | None:
        """Why it cannot run one more, a task of this spec; None if it can."""
        if spec.image and all(image.name != spec.image for image in self.images):
            return f"it has no image {spec.image!r}"
        if spec.network not in self.networks:
            return f"it does not offer the network {spec.network.value!r}"
        if spec.needs > self.speaks:
            return "it is older than the task, and would ignore a part of it"
        taken = load.taken(running)
        left = {name: amount - taken[name] for name, amount in self.capacity.items()}
        if short := shortages(spec.wants.amounts, left):
            return f"it has not enough {', '.join(short)} left"
        # More than was ever given ahead: a lease that landed late. Elsewhere it may start.
        return "all slots are busy" if len(running) >= 2 * self.slots else None

    def hello(self, running: list[Run], spooled: list[Run]) -> Hello:
        return Hello(
            name=self.name,
            boot=self.boot,
            version=self.version,
            enforcement=self.enforcement,
            enforces=self.enforces,
            slots=self.slots,
            running=running,
            spooled=spooled,
            images=self.images,
            networks=self.networks,
            speaks=self.speaks,
            capacity=self.capacity,
            labels=self.labels,
        )


class Link(StrEnum):
    DOWN = "down"
    #: Hello is sent, Welcome is not here.
    GREETING = "greeting"
    ONLINE = "online"


class Dropped:
    """Ended or killed in this session; bounded, the oldest fall out."""

    def __init__(self) -> None:
        self._runs: dict[Run, None] = {}

    def __contains__(self, run: Run) -> bool:
        return run in self._runs

    def add(self, run: Run) -> None:
        self._runs[run] = None
        if len(self._runs) > DROPPED_ITEMS:
            del self._runs[next(iter(self._runs))]

    def clear(self) -> None:
        self._runs.clear()


class Agent:
    """Everything an executor knows; see the module docstring."""

    def __init__(self, identity: Identity, host: Host, spool: dict[Run, Outcome]) -> None:
        self.identity = identity
        self._host = host
        self.link = Link.DOWN
        self.session = SessionNo(0)
        self.highest_session = SessionNo(0)
        self.peers: list[str] = []
        self.running: set[Run] = set()
        self._load = Load()
        self.spool = spool
        self.stopping = False
        #: False while the disk is too full to take work; set by the shell.
        self.accepts_work = True
        #: What its cache did, told with every heartbeat; set by the shell.
        self.cache: CacheCounts | None = None
        self._dropped = Dropped()
        self._accepted_before = True
        self._seq = 0
        self._next_heartbeat_at = 0.0
        self._patience = Patience(host.now())

    # ---- link -------------------------------------------------------------------------------

    def on_connected(self) -> None:
        self.link = Link.GREETING
        self._patience.connected(self._host.now())
        self._host.send(self.identity.hello(sorted(self.running), sorted(self.spool)))

    def on_disconnected(self) -> None:
        self.link = Link.DOWN

    def on_tick(self) -> None:
        """Call a few times a second."""
        now = self._host.now()
        if self.link is Link.DOWN:
            if self.running and self._patience.orphaned(now):
                self._stop_orphans()
            return
        if self._patience.silent(now):
            self._host.disconnect(f"no answer for {LINK_TIMEOUT_S:.0f} s")
            return
        if self.link is not Link.ONLINE:
            return
        if now >= self._next_heartbeat_at or self._accepts() != self._accepted_before:
            self._beat(now)

    def _stop_orphans(self) -> None:
        for run in sorted(self.running):
            self.running.discard(run)
            self._host.stop(run, 0.0)

    def _beat(self, now: float) -> None:
        self._seq += 1
        self._next_heartbeat_at = now + HEARTBEAT_S
        self._accepted_before = self._accepts()
        self._host.send(
            Heartbeat(
                session=self.session,
                seq=self._seq,
                running=sorted(self.running),
                spooled=sorted(self.spool),
                accepts=self._accepted_before,
                cache=self.cache,
                ending=len(self._load.ending),
                ending_amounts=self._load.ending_amounts(),
            )
        )
        for run in list(self.spool)[:RESEND_ITEMS]:
            outcome = self.spool[run] = self.spool.pop(run)  # to the end of the line
            self._host.send(Finished(session=self.session, run=run, outcome=outcome))

    def _accepts(self) -> bool:
        return not self.stopping and self.accepts_work and len(self.spool) < SPOOL_ITEMS

    # ---- messages ---------------------------------------------------------------------------

    def on_message(self, message: ToExecutorMessage) -> None:
        match message:
            case Welcome():
                self._on_welcome(message)
            case HeartbeatAck():
                self._on_ack(message)
            case Assign():
                if self._current(message.session):
                    self._on_assign(message)
            case Kill():
                if self._current(message.session):
                    self._drop(message.run, message.grace_s)
            case Recorded() | Abandon():
                for run in message.runs:
                    self._drop(run)
            case SessionLost():
                if self._current(message.session):
                    self._host.disconnect("the session was taken over or expired")
            case NameInUse():
                self._host.disconnect(
                    f"another executor named {message.name!r} is online; give one of them another"
                    " --name"
                )

    def _current(self, session: SessionNo) -> bool:
        return self.link is Link.ONLINE and session == self.session

    def _on_welcome(self, message: Welcome) -> None:
        if message.boot != self.identity.boot or message.session <= self.highest_session:
            return
        self.session = self.highest_session = message.session
        self._dropped.clear()
        self.link = Link.ONLINE
        self.peers = message.peers
        now = self._host.now()
        self._patience.acked(now)
        for run in message.kill:
            self._drop(run)
        self._beat(now)

    def _on_ack(self, message: HeartbeatAck) -> None:
        if not self._current(message.session):
            return
        now = self._host.now()
        self._patience.acked(now)
        self.peers = message.peers
        if self._patience.unserved(now, serving=message.serving) and len(self.peers) > 1:
            self._host.disconnect("the judicator cannot write")

    def _on_assign(self, message: Assign) -> None:
        run = message.run
        if run in self.running or run in self.spool:
            return
        if run in self._dropped or self._host.has_started(run):
            self._host.send(Dead(session=self.session, run=run))
        elif not self._accepts():
            self._host.send(Refused(session=self.session, run=run, why="it takes no work now"))
        elif (why := self.identity.why_not(message.spec, self._load, self.running)) is not None:
            self._host.send(Refused(session=self.session, run=run, why=why))
        else:
            self.running.add(run)
            self._load.add(run, message.spec.wants.amounts)
            self._host.start(run, message.spec)

    def _drop(self, run: Run, grace_s: float = 0.0) -> None:
        self._dropped.add(run)
        if run in self.running:
            self.running.discard(run)
            self._host.stop(run, grace_s)
            if grace_s > 0:
                self._load.ending.add(run)
                self._beat(self._host.now())
        if self.spool.pop(run, None) is not None:
            self._host.forget(run)

    # ---- attempts ---------------------------------------------------------------------------

    def on_progress(self, run: Run, progress: Progress) -> None:
        if run in self.running and self.link is Link.ONLINE:
            self._host.send(ProgressReport(session=self.session, run=run, progress=progress))

    def on_spooled(self, run: Run, outcome: Outcome) -> None:
        """The result is on disk: the slot is free, the result is not yet recorded."""
        if run not in self.running:
            self._host.forget(run)  # killed while it ended
            return
        self.running.discard(run)
        self.spool[run] = outcome
        if self.link is Link.ONLINE:
            self._host.send(Finished(session=self.session, run=run, outcome=outcome))

    def on_gone(self, run: Run) -> None:
        """None of its processes is left, however it ended."""
        if self._load.ended(run) and self.link is Link.ONLINE:
            self._beat(self._host.now())

    def on_refused(self, run: Run, why: str, *, waited: bool = False) -> None:
        """For no reason of the task's: it could not be run here, or has `waited` in vain."""
        self._give_back(Refused(session=self.session, run=run, why=why, waited=waited))

    def on_lost(self, run: Run) -> None:
        """Its sandbox was destroyed from outside: nobody knows how it would have ended."""
        self._give_back(Dead(session=self.session, run=run))

    def _give_back(self, message: Refused | Dead) -> None:
        if message.run in self.running:
            self.running.discard(message.run)
            if self.link is Link.ONLINE:
                self._host.send(message)

    def begin_stop(self) -> None:
        """Take nothing new; what runs may end."""
        self.stopping = True
        if self.link is Link.ONLINE:
            self._beat(self._host.now())

    def give_up_runs(self) -> None:
        """Kill what still runs and give it back: another executor runs it as a new attempt."""
        for run in sorted(self.running):
            self._host.stop(run, 0.0)
            self.on_refused(run, "the executor is stopping")
