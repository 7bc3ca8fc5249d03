"""Sessions that begin: a Hello brings an executor's inventory in line with the store.

The order matters. What the executor runs is adopted and what it has lost is requeued before its
Welcome, so that nothing is given to it while the store and its inventory disagree; and a session
is installed only if no later Hello of the same name has overtaken it.
"""

from __future__ import annotations

from collections.abc import Collection

from khala.core.dispatch import Dispatcher
from khala.core.ports import Conn
from khala.core.returns import RETRY_S
from khala.core.session import Held, Session
from khala.model.capabilities import shapes_of
from khala.model.errors import KhalaError, NameTaken, OutcomeUnknown, Unavailable
from khala.model.executor import Owner
from khala.model.ids import BootId, ExecutorName, SessionNo
from khala.model.statements import OpenedSession, OpenSession
from khala.protocol.executor import Hello, NameInUse, Run, Welcome


class Opening:
    """From Hello to Welcome."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._leasing = dispatcher.leasing
        self._sessions = dispatcher.sessions
        self._store = dispatcher.store
        self._comm = dispatcher.comm
        #: Names whose session may have been opened without our knowing, and since when.
        self.unsure: dict[ExecutorName, float] = {}

    def on_hello(self, conn: Conn, hello: Hello) -> None:
        """Open a session, unless a live process of another boot holds the name, here or at another
        judicator."""
        if conn in self._sessions.greeting or self._sessions.at(conn) is not None:
            return
        current = self._sessions.get(hello.name)
        if current is not None and current.boot != hello.boot and current.conn is not None:
            self._refuse_name(conn, hello.name)
            return
        self._sessions.greeting[conn] = hello.name
        self._comm.spawn(self._open(conn, hello))

    async def _open(self, conn: Conn, hello: Hello) -> None:
        try:
            opened = await self._store.open_session(
                OpenSession(
                    name=hello.name,
                    boot=hello.boot,
                    owner=Owner(
                        judicator=self._dispatcher.name, incarnation=self._dispatcher.incarnation
                    ),
                    slots=hello.slots,
                    version=hello.version,
                    enforcement=hello.enforcement,
                    images=hello.images,
                    networks=hello.networks,
                    enforces=hello.enforces,
                    speaks=hello.speaks,
                    capacity=hello.capacity,
                    labels=hello.labels,
                )
            )
        except NameTaken:
            if self._sessions.greeting.pop(conn, None) is not None:
                self._refuse_name(conn, hello.name)
            return
        except KhalaError:
            # The executor says Hello again; a session number may be skipped, never reused.
            self._sessions.greeting.pop(conn, None)
            self.unsure[hello.name] = self._comm.now()
            self._comm.close(conn, "the session could not be opened")
            return
        await self._reconcile(conn, hello, opened)
        self._sessions.greeting.pop(conn, None)

    def _refuse_name(self, conn: Conn, name: ExecutorName) -> None:
        self._comm.send(conn, NameInUse(name=name))
        self._comm.close(conn, "name in use")

    async def _reconcile(self, conn: Conn, hello: Hello, opened: OpenedSession) -> None:
        """S7 for everything the executor runs, S8 for everything it has not, then Welcome.

        Spooled results come after it: there may be a thousand, their leases can wait for the
        Finished that follows, and an executor does not wait for ever."""
        earlier = self._sessions.get(hello.name)
        if earlier is not None and earlier.number < opened.session:
            # From here on its leases in flight find it gone and give themselves back.
            self._sessions.detach(earlier)
        session = Session(
            name=hello.name,
            number=opened.session,
            boot=hello.boot,
            slots=hello.slots,
            shapes=shapes_of([image.name for image in hello.images], hello.speaks, hello.networks),
            capacity=hello.capacity,
            labels=hello.labels,
            last_seen_at=self._comm.now(),
            conn=None,
            cordon=opened.previous.cordon if opened.previous is not None else None,
        )
        kill = [run for run in hello.running if not await self._adopt(conn, session, run)]
        await self._requeue_older(session, opened.previous_boot, set(hello.spooled))
        if self._install(conn, session, kill):
            for run in hello.spooled:
                await self._adopt_spooled(session, run)

    async def _adopt(self, conn: Conn, session: Session, run: Run) -> bool:
        """S7, repeated while the executor waits for it."""
        lease = self._leasing.new_lease(session)
        while True:
            try:
                adopted = await self._store.adopt_if_attempt(run[0], run[1], lease)
                break
            except (OutcomeUnknown, Unavailable):
                if conn not in self._sessions.greeting:
                    return False  # nobody will hear it; the audits see to the lease
                await self._comm.sleep(RETRY_S)
        if adopted:
            self._sessions.hold(session, run, Held(task=None, seen_at=self._comm.now()))
        return adopted

    async def _adopt_spooled(self, session: Session, run: Run) -> None:
        """Keep the lease of a result that is on its way from being taken for nobody's."""
        try:
            lease = self._leasing.new_lease(session)
            adopted = await self._store.adopt_if_attempt(run[0], run[1], lease)
        except KhalaError:
            return  # a rerun, if the leader's audit comes before the result
        if adopted and run not in session.held:
            held = Held(task=None, seen_at=self._comm.now(), finished=True)
            self._sessions.hold(session, run, held)

    async def _requeue_older(
        self, session: Session, previous_boot: BootId | None, spooled: Collection[Run]
    ) -> None:
        """Leases of earlier sessions that the executor did not show: requeue at once. They count
        as crashes only if its process died; the same boot simply never received them."""
        crash = previous_boot is not None and previous_boot != session.boot
        try:
            older = await self._store.leases_of(session.name, SessionNo(session.number - 1))
        except KhalaError:
            return  # the leader's audit finds them
        for lease in older:
            if (lease.id, lease.attempt) not in spooled:
                await self._leasing.returns.requeue_lease(lease, crash=crash)

    def _install(self, conn: Conn, session: Session, kill: list[Run]) -> bool:
        """Make it the current session; False if a later Hello overtook it."""
        current = self._sessions.get(session.name)
        if current is not None and current.number >= session.number:
            return False
        session.last_seen_at = self._comm.now()
        if conn in self._sessions.greeting:
            session.conn = conn
        else:
            session.closed_at = session.last_seen_at  # so that somebody expires it
        self._sessions.attach(session)
        self.unsure.pop(session.name, None)
        if session.conn is not None:
            self._comm.send(
                session.conn,
                Welcome(
                    session=session.number,
                    boot=session.boot,
                    judicator=self._dispatcher.name,
                    peers=self._comm.peers(),
                    kill=kill,
                ),
            )
        self._leasing.dispatch()
        return True
