"""How much of the cluster one user may have: what hosts and the cluster were told of it, what is in
force by that, and what is used of it.

A quota of tasks that wait or of stored bytes refuses what would exceed it. One of tasks that run or
of processor time accepts and lets wait: tasks that may not run yet are held under `QUOTA`, apart
from the queue, so they stand in nobody's way.
"""

from __future__ import annotations

from msgspec import Struct, field
from msgspec.structs import fields

from khala.model.holds import HoldKey
from khala.model.ids import TaskId

#: The condition of what its user's quota keeps from running.
QUOTA = HoldKey("quota")


class Quota(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one user; None: no bound."""

    #: Tasks that have been accepted and do not run, those of jobs included.
    queued: int | None = None
    running: int | None = None
    #: Processor time of the tasks that ended since midnight, UTC.
    cpu_s: int | None = None
    #: Documents and outputs of tasks, without blobs.
    size_bytes: int | None = None

    @property
    def holds(self) -> bool:
        """Its tasks are accepted as held."""
        return self.running is not None or self.cpu_s is not None


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user has of it now; None: nobody counts, because nothing bounds it."""

    queued: int | None = None
    running: int | None = None
    cpu_s: float | None = None
    size_bytes: int | None = None


class Turn(Struct, frozen=True, kw_only=True):
    """One decision on what of a user's may run: its number, and what is lifted by it."""

    number: int = 0
    tasks: tuple[TaskId, ...] = ()


class Quotas(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Those in force, of everybody."""

    default: Quota = Quota()
    users: dict[int, Quota] = {}

    def of(self, user: int) -> Quota:
        return self.users.get(user, self.default)

    @property
    def on(self) -> bool:
        return any(each != Quota() for each in (self.default, *self.users.values()))


class ToldQuota(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody said of one user's bounds; None: nothing, 0: that there is none."""

    queued: int | None = None
    running: int | None = None
    cpu_s: int | None = None
    size_bytes: int | None = field(name="stored_bytes", default=None)


class ToldQuotas(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a host's settings say, or what is set in the cluster."""

    default: ToldQuota = ToldQuota()
    users: dict[int, ToldQuota] = {}

    def of(self, user: int) -> ToldQuota:
        return self.users.get(user, _NOTHING)


_NOTHING = ToldQuota()
_NOTHING_TOLD = ToldQuotas()


def in_force(hosts: ToldQuotas, cluster: ToldQuotas = _NOTHING_TOLD) -> Quotas:
    """Bound by bound what is said of the user goes before what is said of everybody, and then the
    cluster's word before the host's."""
    everybody = (cluster.default, hosts.default)
    return Quotas(
        default=_first(*everybody),
        users={
            user: _first(cluster.of(user), hosts.of(user), *everybody)
            for user in sorted({*hosts.users, *cluster.users})
        },
    )


def _first(*told: ToldQuota) -> Quota:
    bounds: dict[str, int | None] = {}
    for each in fields(Quota):
        said = (bound for one in told if (bound := getattr(one, each.name)) is not None)
        bounds[each.name] = next(said, 0) or None
    return Quota(**bounds)
