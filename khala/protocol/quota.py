"""What a user may have of the cluster, and has; and what is set in the cluster of that.

GET /rpc/v1/quota/<user>   -> QuotaView
GET /rpc/v1/quotas         -> ClusterQuotas
PUT /rpc/v1/quotas         SetQuotas -> ClusterQuotas
"""

from __future__ import annotations

from msgspec import Struct

from khala.model.quota import Quota, ToldQuotas, Usage


class QuotaView(Struct, frozen=True, kw_only=True):
    user: int
    limits: Quota
    used: Usage


class SetQuotas(Struct, frozen=True, kw_only=True):
    """All that is to be set, in the place of what stands under this number."""

    revision: int
    told: ToldQuotas
