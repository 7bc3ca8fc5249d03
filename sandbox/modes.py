"""Which mode this host allows: found out by doing, best first.

A version number, a mount table or a file's existence only says what might work. So each mode is
tried as it will be used: its subtree is made, a throw-away leaf gets limits and a process, is
counted, killed and removed. What refuses is kept with its reason and its repair, for the message
when no mode is left.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

from khala.model.enforcement import Enforcement, Mode, Unenforced
from khala.model.errors import KhalaError, Rejected, Unavailable, invariant
from khala.model.limits import MIB
from khala.model.spec import StageLimits
from sandbox import cgroup_v1, cgroup_v2, contain, nogroup
from sandbox.group import Tree
from sandbox.job import SandboxConfig

_TRIAL = "trial"
_TRIAL_LIMITS = StageLimits(
    wall_ms=1000,
    cpu_ms=1000,
    memory_bytes=64 * MIB,
    pids=16,
    output_bytes=1,
    file_bytes=1,
    cpus=1.0,
)
_TRIAL_S = 5.0
_NONE = Enforcement(mode=Mode.DEGRADED, root=False, unenforced=tuple(Unenforced))


def enter(config: SandboxConfig) -> None:
    """To be called first of all where a sandbox may be opened without cgroups: this process may
    then go on as a child of itself (see `contain`). Nothing is done where there are cgroups.

    Raises Rejected as `open_tree` does.
    """
    try:
        _open_grouped(config.name).close()
    except Rejected as refusal:
        _refuse_unless_allowed(config, refusal)
        contain.contain()


def open_tree(config: SandboxConfig) -> tuple[Tree, Enforcement]:
    """The best mode that works here, and what it enforces.

    Raises Rejected naming everything that is in the way, and the commands that repair it.
    """
    root = contain.owns_ids(config.uid_base, config.slots)
    try:
        tree = _open_grouped(config.name)
    except Rejected as refusal:
        _refuse_unless_allowed(config, refusal)
        invariant(contain.is_contained(), "without cgroups, sandbox.enter comes first")
        degraded = Enforcement(mode=Mode.DEGRADED, root=root, unenforced=tuple(Unenforced))
        return nogroup.open_tree(config.name), degraded
    return tree, Enforcement(mode=tree.mode, root=root)


def _open_grouped(name: str) -> Tree:
    openers: list[Callable[[str], Tree]] = [cgroup_v1.open_tree, cgroup_v2.open_tree]
    refusals: list[str] = []
    if os.geteuid() != 0:
        # Nobody but root may have a group of version 1: it can be used to do harm.
        del openers[0]
        refusals.append("without root there is no cgroup v1")
    for opener in openers:
        try:
            return _tried(opener(name))
        except Rejected as error:
            if error.field is not None:
                raise  # a setting is wrong, whatever the mode
            refusals.append(error.message)
        except (KhalaError, OSError) as error:
            refusals.append(str(error))
    raise Rejected("; ".join(refusals))


def _tried(tree: Tree) -> Tree:
    """Give it back if a throw-away leaf works. Raises what is in the way."""
    leaf = tree.leaf(_TRIAL)
    try:
        leaf.create()
        leaf.limit(_TRIAL_LIMITS)
        with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, start_new_session=True) as cat:
            try:
                leaf.attach(cat.pid)
                if cat.pid not in leaf.processes():
                    raise Unavailable(f"a process cannot be moved into the cgroup {leaf.name}")
                leaf.usage()
            finally:
                cat.kill()
        _remove(leaf.try_remove)
    except BaseException:
        leaf.try_remove()
        tree.close()
        raise
    return tree


def _remove(try_remove: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TRIAL_S
    while not try_remove():
        if time.monotonic() > deadline:
            raise Unavailable("a throw-away cgroup cannot be removed")
        time.sleep(0.002)


def _refuse_unless_allowed(config: SandboxConfig, refusal: Rejected) -> None:
    if config.allow_degraded or refusal.field is not None:
        if refusal.field is not None:
            raise refusal
        return
    raise Rejected(
        f"this host gives the sandbox no cgroups: {refusal.message}. Without them nothing would"
        f" enforce: {_NONE.gaps}. Repair the above, or accept that with --allow-degraded",
        field="--allow-degraded",
    ) from refusal
