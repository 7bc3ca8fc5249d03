"""What is set in the cluster, in the place of what its hosts were told."""

from __future__ import annotations

from msgspec import Struct

from khala.model.keeping import ClusterKeeping
from khala.model.quota import ToldQuotas


class ClusterSettings(Struct, frozen=True, kw_only=True):
    """One number for all of it, which grows with each change."""

    revision: int = 0
    quotas: ToldQuotas = ToldQuotas()
    keeping: ClusterKeeping = ClusterKeeping()
