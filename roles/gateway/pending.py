"""Why a task that waits is waiting: the first question of everybody who looks at one.

Said by what the judicators knew of executors some seconds ago at most, so it is a hint: by the time
it is read the task may run.
"""

from __future__ import annotations

import zlib
from datetime import UTC

from khala.model.depends import On, predecessor_of
from khala.model.errors import KhalaError
from khala.model.executor import SessionState
from khala.model.holds import RELEASE, Hold, HoldKey
from khala.model.ids import TaskId
from khala.model.job import job_held_by
from khala.model.quota import QUOTA, Quota, Usage
from khala.model.spec import Network, TaskSpec
from khala.model.task import Task, TaskState
from khala.model.wants import shortages, show_amount
from khala.protocol.v2 import BlockingCode, Pending, PendingCode
from roles.gateway.blocking import STATIC, blocks_of, find_blocking
from roles.gateway.cluster import Cluster, ExecutorSeen, Seen

#: Between the tag of a task and that of its waiting.
_TAG = "~"
#: Images that a sentence names; `GET /api/v2/images` has them all.
_NAMES = 10


async def load_pending(cluster: Cluster, task: Task) -> Pending | None:
    """None if it does not wait, or nobody can say why."""
    if task.state is not TaskState.QUEUED:
        return None
    try:
        return why_pending(task, await cluster.glance())
    except KhalaError:
        return None


def why_pending(task: Task, seen: Seen) -> Pending:
    if held_by_quota_alone(task):
        user = task.spec.user
        return Pending(
            code=PendingCode.QUOTA,
            detail=f"waiting for the quota of user {user}: as many of its tasks run, or as much"
            f" processor time was used today, as it may have; /api/v2/quota?user={user} shows both",
        )
    if task.hold is not None:
        return Pending(code=PendingCode.HELD, detail=_why_held(task.id, task.hold))
    spec = task.spec
    online = [each for each in seen.executors if each.record.state is SessionState.ONLINE]
    if not online:
        return Pending(
            code=PendingCode.NO_EXECUTOR, detail="waiting for an executor: none is online"
        )
    blocks = {each.record.name: blocks_of(spec, each) for each in online}
    able = [each for each in online if not {c for c, _ in blocks[each.record.name]} & STATIC]
    if not able:
        return _why_nowhere(spec, online)
    if not all(blocks[each.record.name] for each in able):
        return Pending(code=PendingCode.SOON, detail="a slot is free; it starts in a moment")
    short = {
        name for each in able if each.free for name in shortages(spec.wants.amounts, each.left)
    }
    if short:
        detail = "; ".join(_shortage(name, spec, able) for name in sorted(short))
        return Pending(code=PendingCode.NO_ROOM, detail=f"waiting for {detail}")
    slots = sum(each.record.slots for each in able)
    which = f" with image {spec.image}" if spec.image else ""
    return Pending(
        code=PendingCode.NO_SLOT,
        detail=f"waiting for a slot: all {slots} of the executors{which} are taken",
    )


def held_by_quota_alone(task: Task) -> bool:
    return task.hold == Hold(keys=(QUOTA,))


def why_quota(user: int, limits: Quota, used: Usage) -> str:
    """The same with numbers."""
    reasons = []
    if limits.cpu_s is not None and used.cpu_s is not None and used.cpu_s >= limits.cpu_s:
        reasons.append(
            f"{used.cpu_s:.0f} of {limits.cpu_s} seconds of processor time were used today; more"
            " begin after midnight, UTC"
        )
    if limits.running is not None and used.running is not None:
        reasons.append(
            f"{used.running} of its tasks run, {limits.running} may; what is next begins"
            " when one of them ends"
        )
    return f"waiting for the quota of user {user}: {' and '.join(reasons) or 'there is room again'}"


def _why_nowhere(spec: TaskSpec, online: list[ExecutorSeen]) -> Pending:
    """It waits for an executor that is not here; it may come."""
    if spec.image and not any(_has(each, spec.image) for each in online):
        names = sorted({each.name for executor in online for each in executor.record.images})
        return Pending(
            code=PendingCode.NO_IMAGE,
            detail=f"waiting for image {spec.image}: no online executor has it (images online:"
            f" {_some(names)})",
        )
    if spec.network is Network.FULL and not any(_offers(each, spec.network) for each in online):
        return Pending(
            code=PendingCode.NO_NETWORK,
            detail=f"waiting for an executor that offers the network {spec.network}: none that is"
            " online does",
        )
    found = find_blocking(spec, online)
    if {each.code for each in found} <= {BlockingCode.OLD, BlockingCode.NO_IMAGE}:
        return Pending(
            code=PendingCode.OLD_EXECUTOR,
            detail="waiting for a newer executor: those online do not know all that it asks for",
        )
    reasons = [f"{each.count} {each.detail}" for each in found]
    cordoned = any(each.code is BlockingCode.CORDONED for each in found)
    when = " now" if cordoned else ", however long it waits"
    return Pending(
        code=PendingCode.NO_FIT,
        detail=f"no online executor can run it{when}: of {len(online)}, {_some(reasons)}",
    )


def _shortage(name: str, spec: TaskSpec, able: list[ExecutorSeen]) -> str:
    most = max(each.left.get(name, 0) for each in able if each.free)
    wanted = show_amount(name, spec.wants.amounts[name])
    free = show_amount(name, most)
    return f"{name}: it needs {wanted}, the most that is free at one executor is {free}"


def why_held_by_person(task: TaskId, hold: Hold) -> list[str]:
    """By itself, or with its job."""
    itself = [f"held until it is released (khala release {task})"] * (RELEASE in hold.keys)
    return itself + [
        f"held with its job until that is released (khala job release {job})"
        for job in filter(None, map(job_held_by, hold.keys))
    ]


def _why_held(task: TaskId, hold: Hold) -> str:
    reasons = [f"until {hold.until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"] if hold.until else []
    for on, what in ((On.OK, "the success"), (On.ANY, "the end")):
        waits = [str(each.id) for each in map(predecessor_of, hold.keys) if each and each.on is on]
        if waits:
            reasons.append(f"for {what} of {_some(waits)}")
    others = [str(key) for key in hold.keys if not _is_told(key)]
    if others:
        reasons.append(f"for {_some(others)}")
    waiting = why_held_by_person(task, hold)
    if reasons:
        waiting.append("waiting " + " and ".join(reasons))
    return "; ".join(waiting)


def _is_told(key: HoldKey) -> bool:
    """In words of its own."""
    known = predecessor_of(key) is not None or job_held_by(key) is not None
    return known or key in (QUOTA, RELEASE)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return (", ".join(names[:_NAMES]) or "none") + more


def _has(executor: ExecutorSeen, image: str) -> bool:
    return any(each.name == image for each in executor.record.images)


def _offers(executor: ExecutorSeen, network: Network) -> bool:
    return network in executor.record.networks


def tag_with(tag: str, pending: Pending | None) -> str:
    """The tag of a view: the task's, and what its waiting adds to it."""
    if pending is None:
        return tag
    return f"{tag}{_TAG}{zlib.crc32(f'{pending.code} {pending.detail}'.encode()):x}"


def tag_of_task(tag: str) -> str:
    """The task's part of it."""
    return tag.partition(_TAG)[0]
