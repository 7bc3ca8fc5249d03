"""`GET /api/v2/images`: the root file systems that tasks may name, and who has them."""

from __future__ import annotations

from khala.model.executor import SessionState
from khala.protocol import v2
from roles.gateway.cluster import Seen


def view_images(seen: Seen) -> v2.Images:
    """By name; those of lost executors too, for which a task would wait."""
    holders: dict[str, list[v2.ImageHolder]] = {}
    for executor in seen.executors:
        for image in executor.record.images:
            holders.setdefault(image.name, []).append(
                v2.ImageHolder(
                    executor=executor.record.name,
                    state=executor.record.state,
                    identity=image.identity,
                    size_bytes=image.size_bytes,
                )
            )
    return v2.Images(
        images=[
            v2.Image(
                name=name,
                online=any(each.state is SessionState.ONLINE for each in found),
                uniform=len({each.identity for each in found}) == 1,
                executors=found,
            )
            for name, found in sorted(holders.items())
        ]
    )
