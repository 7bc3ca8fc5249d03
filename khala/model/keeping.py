"""What a cluster keeps: by the word of each host, and by the cluster's, which can be changed at any
moment by whoever administers it through a gateway.

A gateway talks to strangers, so its word must not be able to remove anything before somebody has
noticed. What keeps more is in force at once, what keeps less when `NOTICE` is over: until then each
word that the cluster has said before holds wherever it keeps more. Those words stand beside the
present one, with a date, as long as another one does not keep at least as much for as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from khala.model.errors import NotPossible
from khala.model.limits import AUDIT_DAYS_MAX, BACKUPS_MAX
from khala.model.retention import Retention

NOTICE = timedelta(days=1)
#: That a cluster goes by beside its present one.
EARLIER_WORDS = 20
AUDIT_MAX_S = AUDIT_DAYS_MAX * 86400.0


class Keeping(Struct, frozen=True, kw_only=True):
    """What a host was told, or what is in force there."""

    retention: Retention = Retention()
    #: How long entries of the audit log are kept.
    audit_s: float = 400 * 86400.0
    #: How many backups each judicator keeps.
    backups_kept: int = 7


#: As long as nobody knows better.
EVERYTHING = Keeping(audit_s=AUDIT_MAX_S, backups_kept=BACKUPS_MAX)


class ToldRetention(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None: nothing is said; 0: there is no bound."""

    age_s: float | None = None
    count: int | None = None
    size_bytes: int | None = None


class ToldKeeping(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is set in the cluster; None: nothing, so that what hosts were told holds."""

    retention: ToldRetention = ToldRetention()
    audit_s: float | None = None
    backups_kept: int | None = None


class Earlier(Struct, frozen=True, kw_only=True):
    """What was set before, and holds until then wherever it keeps more."""

    told: ToldKeeping
    until: datetime


class ClusterKeeping(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is set in the cluster, and what was before and binds; what ends first is first."""

    told: ToldKeeping = ToldKeeping()
    #: None: it never was.
    changed_at: datetime | None = None
    earlier: tuple[Earlier, ...] = ()


def keeping_in_force(hosts: Keeping, cluster: ClusterKeeping, now: datetime) -> Keeping:
    """Of each bound what keeps most. A word that says nothing of it stands for the host's."""
    told = [cluster.told, *(each.told for each in cluster.earlier if now < each.until)]
    of_host, kept = hosts.retention, [each.retention for each in told]
    count = _most((each.count for each in kept), of_host.count)
    size_bytes = _most((each.size_bytes for each in kept), of_host.size_bytes)
    return Keeping(
        retention=Retention(
            age_s=_most((each.age_s for each in kept), of_host.age_s),
            count=None if count is None else int(count),
            size_bytes=None if size_bytes is None else int(size_bytes),
        ),
        audit_s=max(_said(each.audit_s, hosts.audit_s) for each in told),
        backups_kept=int(max(_said(each.backups_kept, hosts.backups_kept) for each in told)),
    )


def less_from(hosts: Keeping, cluster: ClusterKeeping, now: datetime) -> datetime | None:
    """When something that is kept there now is not kept any more; None: as far as is known, never.
    What keeps more does not wait, so what changes later is always less."""
    present = keeping_in_force(hosts, cluster, now)
    for each in sorted(each.until for each in cluster.earlier if now < each.until):
        if keeping_in_force(hosts, cluster, each) != present:
            return each
    return None


def replaced(known: ClusterKeeping, told: ToldKeeping, now: datetime) -> ClusterKeeping:
    """With another word in the place of the present one. Raise `NotPossible` if there are too many
    that bind; one that keeps at least as much as the present one is never too many. Where the word
    before was said by a clock that is ahead, a notice begins no earlier than that one's."""
    if told == known.told:
        return known
    now = max(now, known.changed_at or now)
    binding = [each for each in known.earlier if now < each.until]
    binding.append(Earlier(told=known.told, until=now + NOTICE))
    binding.sort(key=lambda each: each.until)
    earlier = tuple(
        each
        for n, each in enumerate(binding)
        if not any(_covers(one, each.told) for one in _beside(told, binding[n + 1 :]))
    )
    if len(earlier) > EARLIER_WORDS:
        raise NotPossible(
            f"keeping: what is kept was changed so often within a day that {EARLIER_WORDS} earlier"
            f" words still bind; keep less again from {earlier[0].until:%Y-%m-%d %H:%M:%S} UTC on."
            " Possible at once is what keeps at least as much as each of them, whatever hosts were"
            " told: 0, no bound, of ended tasks",
            field="/keeping",
        )
    return ClusterKeeping(told=told, changed_at=now, earlier=earlier)


def _beside(told: ToldKeeping, later: Iterable[Earlier]) -> list[ToldKeeping]:
    """What holds for as long as an earlier word does: the present one for a day at the least."""
    return [told, *(each.told for each in later)]


def _covers(word: ToldKeeping, other: ToldKeeping) -> bool:
    """It keeps at least as much, whatever hosts were told."""
    one, two = word.retention, other.retention
    bounds = ((one.age_s, two.age_s), (one.count, two.count), (one.size_bytes, two.size_bytes))
    return (
        all(mine == 0 or (_reaches(mine, theirs) and theirs != 0) for mine, theirs in bounds)
        and (word.audit_s == AUDIT_MAX_S or _reaches(word.audit_s, other.audit_s))
        and (word.backups_kept == BACKUPS_MAX or _reaches(word.backups_kept, other.backups_kept))
    )


def _reaches(mine: float | None, theirs: float | None) -> bool:
    """Nothing that is said is more or less than what a host says, which is not known here."""
    if mine is None or theirs is None:
        return mine is theirs
    return mine >= theirs


def _most(said: Iterable[float | None], of_host: float | None) -> float | None:
    """None: there is no bound."""
    known = [of_host if each is None else each or None for each in said]
    bounds = [each for each in known if each is not None]
    return max(bounds) if len(bounds) == len(known) else None


def _said(said: float | None, of_host: float) -> float:
    return of_host if said is None else said
