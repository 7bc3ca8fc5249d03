"""What `quota` and `retention`, which set something in the cluster, have in common: how amounts are
written, and when every judicator goes by a change."""

from __future__ import annotations

import asyncio
import re

from khala.client import AsyncKhala
from khala.config.values import Kind, parse
from khala.model.errors import Rejected
from khala.protocol.v2 import ClusterConfig

#: How often, and how many times it is looked whether every judicator goes by a change.
_LOOK_S = 0.5
_LOOKS = 12
#: As in 1_000_000.
_GROUPED = re.compile(r"(?<=[0-9])_(?=[0-9])")


def amount(name: str, kind: Kind, text: str, *, boundless: bool = True) -> int:
    """As typed behind `--name`, in whole ones; 0: no bound, which less than one is not. Raise
    `Rejected`."""
    if boundless and text == "none":
        return 0
    try:
        value = float(str(parse(kind, _GROUPED.sub("", text))))
    except ValueError as error:
        hint = "; or none, for no bound" if boundless else ""
        raise Rejected(f"--{name}: {error}{hint}", field=f"--{name}") from None
    return max(round(value), int(value > 0))


async def known_everywhere(khala: AsyncKhala, config: ClusterConfig) -> ClusterConfig:
    """As it is when every judicator goes by what is set in `config`, or after a while."""
    for _ in range(_LOOKS):
        if not behind(config):
            break
        await asyncio.sleep(_LOOK_S)
        config = await khala.cluster_config()
    return config


def behind(config: ClusterConfig) -> list[str]:
    """The judicators that do not go by what is set yet."""
    revision = config.quotas.revision if config.quotas else 0
    return [
        each.name
        for each in config.judicators
        if each.in_force is None or each.in_force.revision < revision
    ]
