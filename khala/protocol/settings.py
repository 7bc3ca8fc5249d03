"""What of a judicator's settings holds for the whole cluster, each being told it on its own host.

GET /rpc/v1/settings -> JudicatorSettings
"""

from __future__ import annotations

from msgspec import Struct

from khala.model.quota import Quotas
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
