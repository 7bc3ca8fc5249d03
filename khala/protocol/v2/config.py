"""What the processes of a cluster were told, as far as it concerns everybody."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from khala.model.spec import StageLimits


class Keeping(Struct, frozen=True, kw_only=True):
    """How much is kept of what has ended; null: no bound."""

    age_s: float | None
    count: int | None
    size_bytes: int | None


class QuotaBounds(Struct, frozen=True, kw_only=True):
    """Of one user; null: no bound."""

    queued: int | None
    running: int | None
    #: Processor seconds a day.
    cpu_s: int | None
    stored_bytes: int | None


class QuotaConfig(Struct, frozen=True, kw_only=True):
    default: QuotaBounds
    #: Those that have their own, by number.
    users: dict[str, QuotaBounds]


class QuotasInForce(QuotaConfig, frozen=True, kw_only=True):
    """What one judicator goes by."""

    #: What is set in the cluster is in it as of this revision.
    revision: int


class SetBounds(Struct, frozen=True, kw_only=True):
    """What is set in the cluster. 0: no bound; null: nothing, so that what is said of everybody
    holds, or what judicators were told."""

    queued: int | None
    running: int | None
    #: Processor seconds a day.
    cpu_s: int | None
    stored_bytes: int | None


class ClusterQuotas(Struct, frozen=True, kw_only=True):
    """What is set in the cluster, in the place of what judicators were told."""

    #: Grows with each change of anything that is set; 0: nothing ever was.
    revision: int
    default: SetBounds
    users: dict[str, SetBounds]


class SetRetention(Struct, frozen=True, kw_only=True):
    """How much is to be kept of what has ended. 0: no bound; null: nothing is said of it, so that
    what judicators were told holds."""

    age_s: float | None
    count: int | None
    size_bytes: int | None


class ClusterKeeping(Struct, frozen=True, kw_only=True):
    """What is set in the cluster of what it keeps, in the place of what judicators were told."""

    retention: SetRetention
    #: How long entries of the audit log are kept; null: nothing is said of it.
    audit_s: float | None
    #: By each judicator; null: nothing is said of it.
    backups_kept: int | None
    #: Null: it never has.
    changed_at: datetime | None
    #: When what keeps less than before begins; null: nothing is coming.
    less_from: datetime | None


class KeepingInForce(Struct, frozen=True, kw_only=True):
    """What one judicator goes by."""

    retention: Keeping
    audit_s: float
    backups_kept: int


class JudicatorConfig(Struct, frozen=True, kw_only=True):
    """What one judicator was told."""

    name: str
    retention: Keeping
    quotas: QuotaConfig
    #: How long entries of the audit log are kept.
    audit_s: float
    backups_kept: int
    #: Null of a judicator that is older than quotas that are set in the cluster.
    in_force: QuotasInForce | None
    #: Null of a judicator that is older than what is kept being set in the cluster.
    keeping: KeepingInForce | None = None


class GatewayConfig(Struct, frozen=True, kw_only=True):
    """What the gateway that answers was told."""

    #: Limits of a stage that asks for none.
    compile: StageLimits
    execute: StageLimits
    #: The most that a task may ask for.
    maxima: StageLimits
    max_body_bytes: int
    max_blob_bytes: int
    #: Only users are let in.
    users_only: bool
    #: `auto`, `open` or `off`.
    legacy_api: str
    #: Requests of one caller; null: no bound.
    requests_per_second: float | None
    #: Those at once, after a silence.
    request_burst: int | None


class ClusterConfig(Struct, frozen=True, kw_only=True):
    #: Null where no judicator says it.
    quotas: ClusterQuotas | None
    #: Null where no judicator says it.
    keeping: ClusterKeeping | None = None
    judicators: list[JudicatorConfig]
    #: What the judicators were not told alike: the one that leads decides.
    differing: list[str]
    #: Judicators that did not say.
    unreachable: list[str]
    gateway: GatewayConfig
