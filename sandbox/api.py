"""The sandbox of one executor: opened once, then one box per task."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from khala.model.enforcement import Enforcement
from khala.model.errors import KhalaError, Rejected, Unavailable, invariant
from khala.model.executor import ImageInfo
from khala.model.limits import MIB
from khala.model.outcome import Reason
from khala.model.spec import Network, Stage, StageLimits
from sandbox.box import Box
from sandbox.contain import IN_DOCKER
from sandbox.host import Host, open_host
from sandbox.identity import HostIdentity
from sandbox.images import look
from sandbox.job import Job, SandboxConfig
from sandbox.pool import Pool

_PROBE_LIMITS = StageLimits(
    wall_ms=10_000,
    cpu_ms=5_000,
    memory_bytes=64 * MIB,
    pids=16,
    output_bytes=64 * 1024,
    file_bytes=1 * MIB,
    cpus=1.0,
)
#: What a process of a jail must say of itself; anything else means that the host enforces less.
_PROBE_EXPECTS = ("CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2")
_PROBE_EXIT = 7
_NOT_FOUND = 127
_FULL_NETWORK = (
    "network: tasks may ask for this host's own, and then reach all that listens on it, loopback"
    " and abstract sockets included"
)
#: An image may have no other program than a shell.
_PROBE = (
    b"""\
while read -r line; do echo "$line"; done < /proc/self/status
exit %d
"""
    % _PROBE_EXIT
)


class Sandbox:
    """Runs stages in jails; see the package docstring for what it promises."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._pool = Pool(host)
        self._busy: set[int] = set()
        self._own_programs = HostIdentity(host.views[""].exposed)
        self._images: dict[str, ImageInfo] = {}

    @property
    def enforcement(self) -> Enforcement:
        """What this host enforces, for registration and results."""
        return self._host.enforcement

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works less well on this host than it could; for the log."""
        gaps = self.enforcement.gaps
        degraded = (f"degraded: this host does not enforce {gaps}",) if gaps else ()
        network = (_FULL_NETWORK,) if Network.FULL in self.networks else ()
        return degraded + network + self._host.tree.warnings

    async def toolchain_identity(self, image: str = "") -> str:
        """Changes whenever the programs that stages see do; empty: those of this host."""
        if image == "":
            return await self._own_programs.get()
        if image not in self._images:
            raise Unavailable(f"this executor has no image {image!r}")
        return self._images[image].identity

    @property
    def images(self) -> tuple[ImageInfo, ...]:
        """Further root file systems that jobs may name, each proven by a trial jail."""
        return tuple(self._images.values())

    @property
    def networks(self) -> tuple[Network, ...]:
        """Those that jobs may have."""
        return self._host.networks

    @classmethod
    async def open(cls, config: SandboxConfig) -> Sandbox:
        """Set up, clear what an earlier life left, and prove that a jail works by running one.

        Call it in the main thread, early: the process enters its own mount namespace here, and
        threads that exist already stay in the old one. Raises Rejected naming what is missing
        and the command that repairs it. Blocks the event loop for some milliseconds.
        """
        host = open_host(config)
        sandbox = cls(host)
        try:
            await sandbox._probe("")
            if Network.FULL in host.networks:
                await sandbox._probe("", Network.FULL)
            for name, view in host.views.items():
                if view.image is not None:
                    await sandbox._probe(name)
                    sandbox._images[name] = await asyncio.to_thread(look, view.image)
        except BaseException:
            await sandbox.close()
            raise
        await sandbox._pool.start()
        return sandbox

    @asynccontextmanager
    async def box(self, slot: int, *, another: bool = False) -> AsyncIterator[Box]:
        """A fresh box for one task; slots are 0 .. slots-1, each used by one task at a time.

        `another` says that a further box of the slot is likely to follow: it is made, with a jail
        that waits in it, while this one is used.
        """
        invariant(0 <= slot < self._host.config.slots, f"there is no slot {slot}")
        invariant(slot not in self._busy, f"slot {slot} is in use")
        self._busy.add(slot)
        try:
            self._host.ensure_guarded()
            box = await self._pool.take(slot)
            if another:
                self._pool.prepare(slot)
            try:
                yield box
            finally:
                self._pool.give_back(slot, box)
        finally:
            self._busy.discard(slot)

    def beat(self) -> None:
        """Say that this process lives; cheap. One that says so once, and then not for a minute, is
        killed with all its jails: a loop that hangs ends no stage."""
        if self._host.guardian is not None:
            self._host.guardian.beat()

    def choose(self, free: Collection[int]) -> int:
        """Of these slots, the one whose next task would start soonest."""
        return self._pool.choose(free)

    async def settle(self) -> None:
        """Wait until what was used is taken down, and as much as may wait is made."""
        await self._pool.settle()

    async def close(self) -> None:
        """Undo the set-up. Needs every box to be closed."""
        invariant(not self._busy, f"slots {sorted(self._busy)} are in use")
        try:
            await self._pool.close()
        finally:
            self._host.close()

    async def _probe(self, image: str, network: Network = Network.LOOPBACK) -> None:
        with tempfile.TemporaryDirectory(prefix="khala-probe-") as folder:
            stdout, stderr = Path(folder, "out"), Path(folder, "err")
            job = Job(
                command=_PROBE,
                image=image,
                network=network,
                stage=Stage.EXECUTE,
                limits=_PROBE_LIMITS,
                stdout=str(stdout),
                stderr=str(stderr),
            )
            try:
                async with self.box(0) as box:
                    outcome = await box.run(job, asyncio.Event())
            except (KhalaError, OSError) as error:
                raise self._probe_failed(image, str(error)) from error
            if outcome.reason is not Reason.EXIT_NONZERO or outcome.exit_code != _PROBE_EXIT:
                why = outcome.note or outcome.reason
                if outcome.exit_code == _NOT_FOUND:
                    why = "it has no bash on PATH"
                raise self._probe_failed(image, why)
            status = stdout.read_text()
            missing = [line for line in _PROBE_EXPECTS if line not in status]
            if missing:
                why = f"its process does not show {', '.join(missing)}"
                raise self._probe_failed(image, why)

    def _probe_failed(self, image: str, why: str) -> Rejected:
        source = self._host.views[image].image
        if source is None:
            return Rejected(_explain(why))
        return Rejected(
            f"--image: {source.name}={source.path}: a trial jail in it did not work: {why}. An"
            " image needs /bin/sh, bash and the libraries of both, built for this host's"
            " processor; try: chroot DIRECTORY bash",
            field="--image",
        )


def _explain(why: str) -> str:
    return (
        f"a trial jail did not work: {why}. Check as root: sysctl user.max_user_namespaces (must"
        " not be 0); on Ubuntu: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0;"
        f" {IN_DOCKER}"
    )
