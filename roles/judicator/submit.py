"""From a submitted request to a durable task: checks, hashes, and what is stored where.

Small payloads travel in the task document; larger ones are stored as blobs before the document
that names them, so a task never exists without its bytes. Whatever an interrupted submission leaves
behind is collected as an orphan.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from khala.core.dependencies import Dependencies
from khala.core.dispatch import Dispatcher
from khala.model.blob import PREFIX, BlobName
from khala.model.capabilities import CAPABILITY, needs_of
from khala.model.dates import utc_now
from khala.model.errors import (
    KhalaError,
    NoNetworkOffered,
    NoSuchBlob,
    NoSuchImage,
    Rejected,
    TooLarge,
    Unavailable,
)
from khala.model.holds import RELEASE, Hold, held_by
from khala.model.ids import mint_task_id
from khala.model.limits import COMMAND_BYTES, KEY_CHARS, LIST_TASKS
from khala.model.retention import Retention, check_own
from khala.model.spec import Network, Part, PartRef, TaskSpec
from khala.model.statements import NewTask
from khala.net.rpc_errors import body_of
from khala.protocol.jobs import BatchAnswer
from khala.protocol.rpc import SubmitTask, Submitted
from khala.store.parts import plan_parts, put_blob
from khala.store.protocols import BlobStore, SessionStore
from roles.judicator.quotas import Admission

#: Bytes of submissions being stored at once; above it the next one waits for a retry.
IN_FLIGHT_BYTES = 512 * 1024 * 1024

_COMMANDS = (Part.COMPILE_COMMAND, Part.EXECUTE_COMMAND)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitParts:
    """What submissions are checked with, and stored in."""

    dependencies: Dependencies
    admission: Admission
    blobs: BlobStore
    executors: SessionStore
    keep: Callable[[], Retention]


class Submissions:
    """Accepts tasks; `max_bytes` bounds the payload of one."""

    def __init__(self, dispatcher: Dispatcher, parts: SubmitParts, max_bytes: int) -> None:
        self._dispatcher = dispatcher
        self._dependencies = parts.dependencies
        self.admission = parts.admission
        self._blobs = parts.blobs
        self._executors = parts.executors
        self._keep = parts.keep
        self._max_bytes = max_bytes
        self._in_flight = 0

    async def submit(self, request: SubmitTask) -> Submitted:
        """Return once the task is stored on a majority and journalled."""
        spec = await self.prepare(request)
        async with self.admission.admitted(request.user, 1, request.key):
            result = await self._dispatcher.submit(
                NewTask(
                    id=mint_task_id(),
                    spec=spec,
                    submitted_at=utc_now(),
                    key=request.key,
                    fingerprint=_fingerprint(spec, request) if request.key else b"",
                    hold=self._hold(spec, request),
                )
            )
        if spec.depends_on:
            self._dependencies.hurry()
        return Submitted(id=result.id, replay=result.replay)

    def _hold(self, spec: TaskSpec, request: SubmitTask) -> Hold | None:
        hold = self.admission.hold(spec)
        return held_by(hold, RELEASE) if request.held else hold

    async def submit_batch(self, requests: Sequence[SubmitTask]) -> list[BatchAnswer]:
        """Each has its own answer. They travel to the store together."""
        if len(requests) > LIST_TASKS:
            raise TooLarge(f"tasks: {len(requests)}, the limit is {LIST_TASKS}", field="tasks")
        return await asyncio.gather(*map(self._answer, requests))

    async def _answer(self, request: SubmitTask) -> BatchAnswer:
        try:
            return BatchAnswer(submitted=await self.submit(request))
        except KhalaError as error:
            return BatchAnswer(refused=body_of(error))

    async def prepare(self, request: SubmitTask) -> TaskSpec:
        """What is stored of a request: checked, and the bytes that stand apart are there."""
        if not self._dispatcher.serving:
            raise Unavailable("the store does not acknowledge writes; retry in a second")
        if request.needs > CAPABILITY:
            raise Unavailable(
                "this judicator is older than the gateway and would ignore a part of the task:"
                " start the version of the gateway here, then retry"
            )
        # An empty part is an absent one: nothing to store, nothing to fetch.
        parts = {part: data for part, data in request.parts.items() if data}
        size = sum(len(data) for data in parts.values())
        self._check(request, parts, size)
        if request.image and request.image not in self._dispatcher.sessions.shapes:
            await self._check_image(request.image)
        if request.network is Network.FULL:
            await self._check_network(request.network)
        await self._dependencies.check(request.depends_on)
        if self._in_flight + size > IN_FLIGHT_BYTES:
            raise Unavailable("too many large submissions at once; retry in a second")
        self._in_flight += size
        try:
            return await self._store(request, parts)
        finally:
            self._in_flight -= size

    def _check(self, request: SubmitTask, parts: dict[Part, bytes], size: int) -> None:
        if size > self._max_bytes:
            raise TooLarge(
                f"task: its parts have {size} bytes, the limit is {self._max_bytes}", field="task"
            )
        for part in _COMMANDS:
            given = len(parts.get(part, b""))
            if given > COMMAND_BYTES:
                raise TooLarge(
                    f"{part}: {given} bytes, the limit is {COMMAND_BYTES};"
                    " put long scripts into the sources",
                    field=part,
                )
        if request.key is not None and not 0 < len(request.key) <= KEY_CHARS:
            raise Rejected(f"key: 1 to {KEY_CHARS} characters", field="key")
        check_own(request.retention_s, self._keep())

    async def _check_image(self, image: str) -> None:
        """A task may wait for an executor that is away, but not for one that never was."""
        records = await self._executors.list_executors()
        known = {each.name for record in records for each in record.images}
        if image not in known:
            raise NoSuchImage(
                f"image: no executor has {image!r}; known are"
                f" {', '.join(sorted(known)) or 'none'}; start one with --image {image}=PATH",
                field="image",
            )

    async def _check_network(self, network: Network) -> None:
        """The same of what operators have to allow first."""
        records = await self._executors.list_executors()
        if not any(network in record.networks for record in records):
            raise NoNetworkOffered(
                f"network: no executor offers {network.value!r}; an operator who wants tasks to"
                f" have it starts one with --allow-network {network.value}",
                field="network",
            )

    async def _refer(self, blobs: dict[Part, BlobName]) -> dict[Part, PartRef]:
        """Parts that are stored already. The touch keeps them until the task names them."""
        if not blobs:
            return {}
        sizes = await self._blobs.touch(list(blobs.values()))
        for part, name in blobs.items():
            if part in _COMMANDS:
                raise Rejected(f"{part}: a command is no blob", field=part)
            if name not in sizes:
                raise no_such_blob(name, part)
        return {
            part: PartRef(size_bytes=sizes[name], sha256=name, blob=True)
            for part, name in blobs.items()
            if sizes[name]
        }

    async def _store(self, request: SubmitTask, parts: dict[Part, bytes]) -> TaskSpec:
        plan = plan_parts(parts)
        for name, data in plan.apart.items():
            await put_blob(self._blobs, name, data)
        refs = plan.refs | await self._refer(request.blobs)
        return msgspec.structs.replace(TaskSpec.of(request, refs), needs=needs_of(request))


def no_such_blob(name: BlobName, field: str) -> NoSuchBlob:
    return NoSuchBlob(
        f"{field}: there is no blob {PREFIX}{name}; send it with PUT /api/v2/blobs/{name}",
        field=field,
    )


def _fingerprint(spec: TaskSpec, request: SubmitTask) -> bytes:
    """With what is asked for beside the task itself."""
    return fingerprint_of(spec, request.context + (b"held" if request.held else b""))


def fingerprint_of(spec: TaskSpec, context: bytes = b"") -> bytes:
    """Stands for the whole request; the bytes of parts are covered by their hashes. What it needs
    follows from the rest, and may be told differently by another version."""
    bare = msgspec.structs.replace(
        spec,
        needs=0,
        # A repetition is a span of its own.
        traceparent="",
        parts={
            part: msgspec.structs.replace(ref, inline=None, blob=False)
            for part, ref in spec.parts.items()
        },
    )
    # The order in which a client happens to name parts or variables is no difference.
    encoded = msgspec.msgpack.encode(bare, order="deterministic")
    return hashlib.sha256(encoded + context).digest()
