"""Runs the stages of untrusted tasks in nsjail, under limits, and says how they ended.

What it promises, and the tests in `tests/sandbox` check, on a host with cgroups:

- A stage sees the programs of the host read-only, its own box, and nothing else: no host files, no
  other tasks, no network but its own loopback (unless it is given another), no devices but five.
- Wall and processor time, memory (all of its processes, shared memory and files in the box
  included), processes, output, file sizes, the box's bytes and files are bounded, and an outcome
  names the limit that ended a stage and the value observed.
- When `Box.run` is over, every process of the stage is gone; when `Sandbox.box` is left, what it
  wrote follows in the background. Should the service itself be killed, its guardian ends what ran,
  and its mounts vanish with it.
- A jail is used once. It may have been made before its task was known, and knew nothing of one.
- What a stage left is read through open directories only, follows nothing and is bounded.
- A jail that something else destroyed is reported as `SandboxLost`, never as the task's end.

Where things are:

    asked, answered   api, job, errors; box (one task), verdict (what is said of a stage)
    one stage         stage, jail, nsjail, orders (what a waiting jail is told), output, written,
                      killing; pool and supply (jails made ahead); profiles/ (system call policy)
    limits, by mode   group (the calls), cgroup_v1, cgroup_v2, nogroup; modes (which one), subtree,
                      contain (namespaces around the service), trial (for `doctor`)
    what a jail sees  staging, views, exposing, images, loop, mounts; identity (for caches)
    files of a box    folders, archive (in), collect, artifacts, snapshot (out), offload
    the service       host (set up, taken down), guardian (when it is gone); bare (for the bench)

It needs the standard library, msgspec and `khala.model`, and works under asyncio and uvloop.
"""

from khala.model.outcome import StageOutcome
from khala.model.spec import StageLimits
from sandbox.api import Sandbox
from sandbox.artifacts import Collector
from sandbox.box import Box
from sandbox.errors import BadArchive, BadInput, SandboxLost
from sandbox.job import Growing, Job, SandboxConfig
from sandbox.modes import enter
from sandbox.offload import offload
from sandbox.snapshot import Snapshot, Witness
from sandbox.staging import SOURCE

__all__ = [
    "SOURCE",
    "BadArchive",
    "BadInput",
    "Box",
    "Collector",
    "Growing",
    "Job",
    "Sandbox",
    "SandboxConfig",
    "SandboxLost",
    "Snapshot",
    "StageLimits",
    "StageOutcome",
    "Witness",
    "enter",
    "offload",
]
