"""Takes one protection away: a plugin of pytest, to see that the suite misses it.

`KHALA_MUTATION=NAME python -m pytest -p tests.sandbox.attacks.mutations TEST...`
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import msgspec

from khala.model.spec import Network
from sandbox import box, cgroup_v1, cgroup_v2, folders, nsjail


def _no_policy() -> None:
    nsjail.policy = lambda: b"POLICY all {} USE all DEFAULT ALLOW"  # type: ignore[assignment]


def _configure(old: str, new: str) -> None:
    """Change the text of the jail's configuration."""
    original = nsjail.configuration

    def changed(*arguments: Any, **named: Any) -> str:
        text = original(*arguments, **named)
        assert old in text
        return text.replace(old, new)

    nsjail.configuration = changed


def _every_network_is_a_loopback() -> None:
    original = nsjail.configuration

    def changed(place: nsjail.Place, **named: Any) -> str:
        return original(msgspec.structs.replace(place, network=Network.LOOPBACK), **named)

    nsjail.configuration = changed


def _limit(**changes: float) -> None:
    """Let every stage have more than it was given."""
    for module in (cgroup_v1, cgroup_v2):
        original = module.Leaf.limit

        def changed(self: Any, limits: Any, original: Any = original) -> None:
            original(self, msgspec.structs.replace(limits, **changes))

        module.Leaf.limit = changed


def _follow_links() -> None:
    """Write the script as the least careful program would."""

    def careless(folder_fd: int, name: bytes, uid: int, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        fd = os.open(name, flags, 0o644, dir_fd=folder_fd)
        os.fchown(fd, uid, uid)
        os.write(fd, data)
        os.close(fd)

    box.replace_file = careless  # type: ignore[attr-defined]
    folders.replace_file = careless


MUTATIONS: dict[str, Callable[[], None]] = {
    "policy": _no_policy,
    "network": lambda: _configure("mode: ONCE", "mode: ONCE\nclone_newnet: false"),
    "loopback": _every_network_is_a_loopback,
    "ipc": lambda: _configure("mode: ONCE", "mode: ONCE\nclone_newipc: false"),
    "pids": lambda: _limit(pids=4000),
    "memory": lambda: _limit(memory_bytes=1 << 33),
    "links": _follow_links,
}


def pytest_configure() -> None:
    MUTATIONS[os.environ["KHALA_MUTATION"]]()


def pytest_unconfigure() -> None:
    """Without a namespace of their own, the objects of test_memory stay on the host."""
    if os.environ["KHALA_MUTATION"] == "ipc":
        for option in ("-M", "-S", "-Q"):
            subprocess.run(["ipcrm", option, "0x6b68616c"], check=False, capture_output=True)
