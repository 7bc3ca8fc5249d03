"""Which executor fails a task, and for what: the material of every sentence on why it waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from khala.model.executor import SessionState
from khala.model.spec import Network, TaskSpec
from khala.model.wants import Wants, shortages, show_amount
from khala.protocol.v2 import Blocking, BlockingCode
from roles.gateway.cluster import ExecutorSeen

#: Executors that are named; the others are counted.
NAMES = 10
#: Whatever its load, such an executor is never given the task.
STATIC = frozenset(
    {
        BlockingCode.CORDONED,
        BlockingCode.NO_IMAGE,
        BlockingCode.NO_NETWORK,
        BlockingCode.OLD,
        BlockingCode.LABEL,
        BlockingCode.TOO_SMALL,
    }
)


def find_blocking(spec: TaskSpec, executors: Sequence[ExecutorSeen]) -> list[Blocking]:
    """Executors by what keeps them from being given such a task; those that nothing keeps are in
    none. The most frequent first."""
    found: dict[tuple[BlockingCode, str], list[str]] = {}
    for executor in executors:
        for block in blocks_of(spec, executor):
            found.setdefault(block, []).append(executor.record.name)
    return sorted(
        (
            Blocking(code=code, detail=detail, nodes=sorted(names)[:NAMES], count=len(names))
            for (code, detail), names in found.items()
        ),
        key=lambda each: (-each.count, each.code, each.detail),
    )


def blocks_of(spec: TaskSpec, executor: ExecutorSeen) -> list[tuple[BlockingCode, str]]:
    """All that stands in the way at one executor; what holds whatever its load hides the rest."""
    record = executor.record
    if record.state is not SessionState.ONLINE:
        return [(BlockingCode.OFFLINE, "not connected")]
    static = list(_static_blocks(spec, executor))
    if static:
        return static
    if not executor.free:
        return [(BlockingCode.NO_SLOT, "all slots are taken")]
    return [
        (BlockingCode.NO_ROOM, f"needs {show_amount(name, spec.wants.amounts[name])}")
        for name in shortages(spec.wants.amounts, executor.left)
    ]


def _static_blocks(spec: TaskSpec, executor: ExecutorSeen) -> Iterator[tuple[BlockingCode, str]]:
    record = executor.record
    if record.cordon is not None:
        reason = f': "{record.cordon.reason}"' if record.cordon.reason else ""
        yield BlockingCode.CORDONED, f"cordoned{reason}"
    if spec.image and all(image.name != spec.image for image in record.images):
        yield BlockingCode.NO_IMAGE, f"has no image {spec.image}"
    if spec.network is Network.FULL and spec.network not in record.networks:
        yield BlockingCode.NO_NETWORK, f"does not offer the network {spec.network}"
    if record.speaks < spec.needs:
        yield BlockingCode.OLD, "is older than the task"
    yield from _label_blocks(spec.wants, record.labels)
    for name in shortages(spec.wants.amounts, record.capacity):
        yield BlockingCode.TOO_SMALL, f"has not {show_amount(name, spec.wants.amounts[name])}"


def _label_blocks(wants: Wants, labels: dict[str, str]) -> Iterator[tuple[BlockingCode, str]]:
    for key, value in wants.require.items():
        if labels.get(key) != value:
            yield BlockingCode.LABEL, f"has not the label {key}={value}"
    for key, value in wants.avoid.items():
        if labels.get(key) == value:
            yield BlockingCode.LABEL, f"has the label {key}={value}"


def would_run_if(spec: TaskSpec, executors: Sequence[ExecutorSeen]) -> list[str]:
    """What would let it run, of executors that lack one thing; those that are nearest to it first:
    a slot that becomes free is no news."""
    found: dict[str, int] = {}
    for executor in executors:
        blocks = blocks_of(spec, executor)
        if len(blocks) == 1 and blocks[0][0] in _REMEDIES:
            code, detail = blocks[0]
            place, remedy = _REMEDIES[code]
            what = detail.partition(" not ")[2] or detail.partition(" ")[2]
            said = remedy.format(
                name=executor.record.name, what=what, image=spec.image, network=spec.network
            )
            found[said] = place
    return sorted(found, key=lambda sentence: (found[sentence], sentence))[:NAMES]


#: What helps against each, and how much that asks for.
_REMEDIES = {
    BlockingCode.NO_SLOT: (0, "a slot of {name} becomes free"),
    BlockingCode.NO_ROOM: (1, "{name} has {what} left"),
    BlockingCode.CORDONED: (2, "{name} is uncordoned"),
    BlockingCode.OFFLINE: (3, "{name} is online again"),
    BlockingCode.NO_IMAGE: (4, "{name} has image {image}"),
    BlockingCode.NO_NETWORK: (5, "{name} is started with --allow-network {network}"),
    BlockingCode.OLD: (6, "{name} is renewed"),
    BlockingCode.TOO_SMALL: (7, "{name} has {what}, or less is asked for"),
    BlockingCode.LABEL: (8, "labels of {name} and placement agree: {what}"),
}
