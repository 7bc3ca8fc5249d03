"""What each member of a job is asked to do, from what the job stores once for all of them."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from khala.model.blob import BlobName
from khala.model.capabilities import MEMBER_SINCE
from khala.model.errors import Unavailable
from khala.model.job import Job
from khala.model.spec import Member, TaskSpec
from khala.store.protocols import BlobStore

#: Decoded lists that are kept: of the jobs that are being made, mostly.
_KEPT = 4

_decode_entries = msgspec.msgpack.Decoder(list[str]).decode
_decode_specs = msgspec.msgpack.Decoder(list[TaskSpec]).decode


class Members:
    """Reads the jobs' blobs."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._entries: dict[BlobName, list[str]] = {}
        self._specs: dict[BlobName, list[TaskSpec]] = {}

    async def specs_of(self, job: Job, first: int, last: int) -> list[TaskSpec]:
        """Those of the members at positions `first` to `last`."""
        positions = range(first, last + 1)
        task = job.spec.task
        if task is None:
            specs = await self._listed(job)
            return [_placed(job, specs[position - 1]) for position in positions]
        entries = await self._entries_of(job)
        return [
            replace(
                task,
                needs=max(task.needs, MEMBER_SINCE),
                member=Member(
                    job=job.id,
                    index=job.spec.indexes.at(position),
                    entry=entries[position - 1] if entries is not None else None,
                ),
            )
            for position in positions
        ]

    async def spec_of(self, job: Job, position: int) -> TaskSpec:
        return (await self.specs_of(job, position, position))[0]

    async def _entries_of(self, job: Job) -> list[str] | None:
        name = job.spec.blob
        if name is None:
            return None
        if name not in self._entries:
            self._entries[name] = _decode_entries(await self._read(name))
            _forget(self._entries)
        return self._entries[name]

    async def _listed(self, job: Job) -> list[TaskSpec]:
        name = job.spec.blob
        if name is None:
            raise Unavailable(f"job {job.id} has neither a task nor a list of them")
        if name not in self._specs:
            self._specs[name] = _decode_specs(await self._read(name))
            _forget(self._specs)
        return self._specs[name]

    async def _read(self, name: BlobName) -> bytes:
        return b"".join([chunk async for chunk in self._blobs.read(name)])


def _placed(job: Job, spec: TaskSpec) -> TaskSpec:
    """Of a list, whose tasks were stored before it had an id."""
    member = replace(spec.member, job=job.id) if spec.member else None
    return replace(spec, member=member, needs=max(spec.needs, MEMBER_SINCE))


def _forget(kept: dict[BlobName, list[str]] | dict[BlobName, list[TaskSpec]]) -> None:
    while len(kept) > _KEPT:
        del kept[next(iter(kept))]
