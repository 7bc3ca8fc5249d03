"""How many slots would do for what waits, for programs that start and stop machines."""

from __future__ import annotations

from msgspec import Struct

from khala.model.spec import Network
from khala.protocol.v2.tasks import Placement


class ScaleLine(Struct, frozen=True, kw_only=True):
    """Tasks that wait and want the same of an executor."""

    queued: int
    #: False: there are more.
    queued_is_exact: bool
    #: Slots that would work them off in time.
    desired_slots: int
    image: str
    network: Network
    #: What each takes up of its executor beside a slot.
    needs: dict[str, float]
    placement: Placement
    #: Executors that are online, take work, and could run one if they had nothing else to do.
    executors: int
    #: Of those together.
    slots: int
    #: The next of them.
    next_task: str


class Autoscale(Struct, frozen=True, kw_only=True):
    """A suggestion: the slots that the cluster should have."""

    #: `running`, and the `desired_slots` of all lines.
    desired_slots: int
    #: Of the executors that are online and take work.
    slots: int
    running: int
    #: Of all `lines`.
    queued: int
    #: How long a task ran on average that ended in this hour or in the one before; null if none
    #: did: then each that waits is given a slot.
    run_s: float | None
    within_s: int
    #: By what they want, those first whose next task is; up to 50, and 10,000 tasks together.
    lines: list[ScaleLine]
    #: There are other lines.
    more: bool
    #: The same in a sentence.
    why: str
