"""What a user may have of the cluster, and has.

GET /rpc/v1/quota/<user>   -> QuotaView
"""

from __future__ import annotations

from msgspec import Struct

from khala.model.quota import Quota, Usage


class QuotaView(Struct, frozen=True, kw_only=True):
    user: int
    limits: Quota
    used: Usage
