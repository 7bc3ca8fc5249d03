"""What of a judicator's settings holds for the whole cluster, each being told it on its own host,
and what is set in the cluster in their place.

GET /rpc/v1/settings           -> JudicatorSettings
GET /rpc/v1/settings/cluster   -> ClusterSettings
PUT /rpc/v1/settings/cluster   SetSettings -> ClusterSettings
"""

from __future__ import annotations

from msgspec import Struct

from khala.model.keeping import Keeping, ToldKeeping
from khala.model.quota import Quotas, ToldQuotas
from khala.model.retention import Retention


class JudicatorSettings(Struct, frozen=True, kw_only=True):
    retention: Retention
    #: What its host says, without what is set in the cluster.
    quotas: Quotas
    #: How long entries of the audit log are kept.
    audit_s: float
    #: How many backups it keeps.
    backups_kept: int
    #: What it goes by, with what is set in the cluster as of this number. None: it is too old to.
    in_force: Quotas | None = None
    revision: int = 0
    #: What it keeps, with what is set in the cluster. None: it is too old to.
    keeping: Keeping | None = None


class SetSettings(Struct, frozen=True, kw_only=True):
    """All that is to be set, in the place of what stands under this number."""

    revision: int
    quotas: ToldQuotas
    keeping: ToldKeeping
