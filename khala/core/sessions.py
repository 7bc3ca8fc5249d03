"""All sessions of a Judicator, found by name, by connection, and by how much room they have.

Every task asks for the roomiest session, every message for the session of its connection. So each
change of a session goes through here and moves it between the indexes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, ValuesView

from khala.core.ports import Conn
from khala.core.room import Room
from khala.core.session import Held, Session
from khala.model.executor import Cordon
from khala.model.ids import ExecutorName, SessionNo
from khala.model.limits import SHAPES, SHORT_ATTEMPT_S
from khala.model.spec import TaskSpec
from khala.model.statements import Candidate
from khala.protocol.executor import Run


class Sessions:
    """One session a name, at most one a connection."""

    def __init__(self) -> None:
        self._by_name: dict[ExecutorName, Session] = {}
        self._by_conn: dict[Conn, Session] = {}
        #: Open connections whose Hello is being answered.
        self.greeting: dict[Conn, ExecutorName] = {}
        #: Where tasks of each shape may run; the empty one is every session's.
        self._rooms: dict[str, Room] = {}
        self._serves: dict[str, bool] = {}
        #: The one that is kept for a shape.
        self.kept: Session | None = None
        #: Those that can be given more than when this was last emptied.
        self.freed: dict[ExecutorName, Session] = {}

    @property
    def free(self) -> int:
        """Free slots of all sessions."""
        return self.free_for("")

    def free_for(self, shape: str) -> int:
        room = self._rooms.get(shape)
        return room.free if room is not None else 0

    @property
    def shapes(self) -> Collection[str]:
        """Of the tasks that can be run here."""
        return self._rooms.keys()

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: ExecutorName) -> Session | None:
        return self._by_name.get(name)

    def values(self) -> ValuesView[Session]:
        return self._by_name.values()

    def at(self, conn: Conn) -> Session | None:
        return self._by_conn.get(conn)

    def speaking(self, conn: Conn, number: SessionNo) -> Session | None:
        """The session that a message of this connection speaks for."""
        session = self._by_conn.get(conn)
        return session if session is not None and session.number == number else None

    def is_current(self, session: Session) -> bool:
        return self._by_name.get(session.name) is session

    def roomiest(self, spec: TaskSpec, but_not: Collection[ExecutorName] = ()) -> Session | None:
        """Where a task should go; see `Room.roomiest`."""
        room = self._rooms.get(spec.base)
        if room is None:
            return None
        if not spec.wants.digest:
            return room.roomiest(but_not)
        return self._kept(spec, but_not) or room.fitting(spec, but_not)

    def serve(self, spec: TaskSpec) -> bool:
        """Some session could be given such a task, now or when it has less to do."""
        if spec.base not in self._rooms:
            return False
        shape = spec.shape
        if shape == spec.base:
            return True
        if shape not in self._serves:
            if len(self._serves) >= SHAPES:
                self._serves.clear()
            self._serves[shape] = any(session.suits(spec) for session in self._by_name.values())
        return self._serves[shape]

    def _kept(self, spec: TaskSpec, but_not: Collection[ExecutorName]) -> Session | None:
        """One that is kept for it, and empty enough."""
        session = self.kept
        if session is None or session.kept_for != spec.shape or session.name in but_not:
            return None
        return session if session.slots_left and session.fits(spec.wants) else None

    # ---- changes ----------------------------------------------------------------------------

    def attach(self, session: Session) -> None:
        """Make it the current session of its name and connection."""
        earlier = self._by_name.get(session.name)
        if earlier is not None:
            self.detach(earlier)
        self._by_name[session.name] = session
        if session.conn is not None:
            self._by_conn[session.conn] = session
        for shape in session.shapes:
            self._rooms.setdefault(shape, Room())
        self._serves.clear()
        self._freed(session)

    def detach(self, session: Session) -> None:
        del self._by_name[session.name]
        if session.conn is not None:
            del self._by_conn[session.conn]
        for shape in session.shapes:
            room = self._rooms[shape]
            room.remove(session)
            if not room:
                del self._rooms[shape]
        self._serves.clear()
        if self.kept is session:
            self.kept = session.kept_for = None

    def close(self, conn: Conn, now: float) -> None:
        """The connection is gone; its session waits for the executor to come back."""
        self.greeting.pop(conn, None)
        session = self._by_conn.pop(conn, None)
        if session is not None:
            session.conn = None
            session.closed_at = now
            self._note(session)

    def set_accepts(self, session: Session, accepts: bool) -> None:
        if accepts != session.accepts:
            session.accepts = accepts
            self._freed(session)

    def set_ending(self, session: Session, count: int, amounts: Mapping[str, int]) -> None:
        if (count, amounts) != (session.ending, session.ending_amounts):
            session.ending, session.ending_amounts = count, amounts
            self._freed(session)

    def keep_for(self, session: Session, shape: str | None) -> None:
        """For tasks of that shape alone; None: for all again."""
        session.kept_for = shape
        self.kept = session if shape is not None else None
        self._freed(session)

    def set_cordon(self, session: Session, cordon: Cordon | None) -> None:
        session.cordon = cordon
        self._freed(session)

    def hold(self, session: Session, run: Run, held: Held) -> Held:
        self.drop(session, run)
        session.held[run] = held
        session.count(held, 1)
        self._note(session)
        return held

    def drop(self, session: Session, run: Run) -> Held | None:
        held = session.held.pop(run, None)
        if held is not None:
            session.count(held, -1)
            self._freed(session)
        return held

    def learn(self, session: Session, held: Held, task: Candidate) -> None:
        """What a lease is for, that was found without its task."""
        session.count(held, -1)
        held.task = task
        session.count(held, 1)
        self._freed(session)

    def finish(self, session: Session, run: Run, now: float) -> None:
        """The run's slot is free; its lease stands until the result is recorded."""
        held = session.held.get(run)
        if held is not None:
            session.count(held, -1)
            held.finished = True
            session.count(held, 1)
            held.seen_at = now
            if held.reserved_at is not None:
                short = now - held.reserved_at <= SHORT_ATTEMPT_S
                session.ahead = session.slots if short else 0
            self._freed(session)

    def wait_no_more(self, session: Session) -> None:
        """It gave an attempt back: what it runs is not short."""
        session.ahead = 0
        self._note(session)

    def forgive(self, seconds: float) -> None:
        """Time in which this process heard nobody is no one else's silence."""
        for session in self._by_name.values():
            session.last_seen_at += seconds
            if session.closed_at is not None:
                session.closed_at += seconds

    def _freed(self, session: Session) -> None:
        self._note(session)
        if self.is_current(session):
            self.freed[session.name] = session

    def _note(self, session: Session) -> None:
        if not self.is_current(session):
            return
        for shape in session.shapes:
            self._rooms[shape].note(session)
