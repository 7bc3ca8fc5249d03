"""Tasks changed by a person: called otherwise, moved in the queue, held, released.

A change is made to a task as it was read, in one compare-and-set that fails if another person was
faster; then it is read again. So of two that change one task at once neither undoes what the other
one said of something else, and a change whose outcome was unknown never lands behind a later one
that was answered.

A changed task has another place, or none, and its copies in memory do not know: the queue that is
kept here, leases, ended tasks. All of them are hints, so forgetting is enough: the index has the
task in its new place. Other judicators are told by whoever asked for the change; one that was not
told finds out at a lease that fails, or when it reads the queue.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from msgspec.structs import replace

from khala.core.leasing import Leasing
from khala.core.ports import Comm, Store
from khala.core.recent import Recent
from khala.core.session import Held, Session
from khala.model.errors import Changed, KhalaError, NotWaiting, Unavailable
from khala.model.ids import TaskId, mint_nonce
from khala.model.limits import PATCH_TRIES, PATCHES_KNOWN
from khala.model.patch import Patch
from khala.model.statements import candidate_of
from khala.model.task import Dispatch, Task, brief_of
from khala.protocol.executor import Run


class Patching:
    """One judicator's part in it."""

    def __init__(self, leasing: Leasing, store: Store, comm: Comm, recent: Recent) -> None:
        self._leasing = leasing
        self._store = store
        self._comm = comm
        self._recent = recent
        #: Claims of the latest changes that were made here: these tasks are where they belong.
        self._own: dict[TaskId, str] = {}

    async def patch(
        self, task_id: TaskId, patch: Patch, updated_at: datetime | None = None
    ) -> Task:
        """S23; the task as it is then. `updated_at`: only if it was last changed at that time.
        Raise `NotFound`, `NotWaiting`, `Changed`."""
        for _ in range(PATCH_TRIES):
            task = await self._store.get(task_id)
            if updated_at is not None and task.updated_at != updated_at:
                raise Changed(f"task {task_id} has changed since it was read; read it again")
            if patch == Patch():
                return task
            if patch.of_waiting and not task.waits:
                raise NotWaiting(
                    f"task {task_id} is {task.state}: it can be held, released or given another"
                    " priority only while it waits; nothing was changed"
                )
            item = replace(patch.item(task, mint_nonce()), updated_at=updated_at)
            patched = await self._store.patch_if_next(item)
            if patched is not None:
                self._place(patched)
                self._comm.changed(brief_of(patched))
                return patched
        raise Unavailable(f"task {task_id} is changed all the time; retry in a second")

    def _place(self, task: Task) -> None:
        """Where it belongs now, as if it had been submitted here."""
        self._own.pop(task.id, None)
        self._own[task.id] = task.patch or ""
        if len(self._own) > PATCHES_KNOWN:
            del self._own[next(iter(self._own))]
        self._forget([task.id])
        if task.dispatch is Dispatch.QUEUED and not self._leasing.refusals.of(task.id):
            self._leasing.ready.add(candidate_of(task))
            self._leasing.dispatch()

    def told(self, patched: Mapping[TaskId, str]) -> None:
        """They were changed, by somebody: the claims of that."""
        self._forget({task for task, claim in patched.items() if self._own.get(task) != claim})

    def _forget(self, tasks: Collection[TaskId]) -> None:
        """What is remembered of them is from before they were changed."""
        for task in tasks:
            self._recent.forget(task)
            self._leasing.ready.discard(task)
        # Where they are in the queue now, or whether they are, is known to the index.
        self._leasing.returns.unscanned |= bool(tasks)
        for session in self._leasing.sessions.values():
            for run, held in session.held.items():
                if run[0] in tasks and held.task is not None:
                    self._comm.spawn(self._read_again(session, run, held))

    async def _read_again(self, session: Session, run: Run, held: Held) -> None:
        """Its name and its labels are told with every news of the run."""
        try:
            task = await self._store.get(run[0])
        except KhalaError:
            return
        if session.held.get(run) is held and held.task is not None:
            held.task = replace(held.task, spec=task.spec)
