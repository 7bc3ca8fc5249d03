"""Rules of jobs, each taken away."""

from __future__ import annotations

from khala.core.expansion import Expansion
from khala.model.ids import JobId
from khala.model.job import Job
from tests.sim.jobs import DoubtfulJobs
from tests.sim.mutation import Mutation, Patch, without_flow


def _no_seal(patch: Patch) -> None:
    async def seal_nothing(self: Expansion, job: Job) -> None:
        pass

    patch.setattr(Expansion, "_seal", seal_nothing)


def _note_first(patch: Patch) -> None:
    expand = Expansion._expand

    async def note_and_expand(self: Expansion, job: Job) -> None:
        last = min(job.size, job.expanded + (job.spec.limit or job.size))
        await self._jobs.note_expanded(job.id, last)
        await expand(self, job)

    patch.setattr(Expansion, "_expand", note_and_expand)


def _count_first(patch: Patch) -> None:
    """Room is counted by what was open a while ago."""
    count_open = DoubtfulJobs.count_open

    async def count_early(self: DoubtfulJobs, job: JobId) -> int:
        return max(0, await count_open(self, job) - 1)

    patch.setattr(DoubtfulJobs, "count_open", count_early)


def _make_held(patch: Patch) -> None:
    """As if nobody looked whether a job is held."""

    async def expand(self: Expansion, job: Job) -> None:
        await self._expand(job)

    patch.setattr(Expansion, "_hold_members", expand)


JOB_MUTATIONS: dict[str, Mutation] = {
    "noseal": Mutation(
        apply=_no_seal,
        within=None,
        rule="nothing is added to a job that was stopped, however late",
        covered="rare; test_expansion.py: test_members_that_land_after_the_stop",
    ),
    "notefirst": Mutation(
        apply=_note_first,
        within=20,
        rule="S15: members are noted when they are made, not before",
    ),
    "countlow": Mutation(
        apply=_count_first,
        within=20,
        rule="no more members are open at a time than may be",
    ),
    "makeheld": Mutation(
        apply=_make_held,
        within=20,
        rule="S24: of a held job no member begins",
    ),
    "keepheld": Mutation(
        apply=without_flow(Expansion, "_release_members"),
        within=20,
        rule="S25: whatever was held with its job is looked for once the job is released",
    ),
}
