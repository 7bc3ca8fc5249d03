"""`GET /api/v2/images`: the root file systems that tasks may name, and who has them."""

from __future__ import annotations

from msgspec import Struct

from khala.model.executor import SessionState
from roles.gateway.cluster import Seen


class ImageHolder(Struct, frozen=True, kw_only=True):
    executor: str
    state: SessionState
    #: Equal on two executors: the same contents.
    identity: str
    size_bytes: int


class ImageView(Struct, frozen=True, kw_only=True):
    name: str
    #: A task that names it can run now, or when a slot is free.
    online: bool
    #: Every executor that has it has the same contents.
    uniform: bool
    executors: list[ImageHolder]


class ImagesView(Struct, frozen=True, kw_only=True):
    images: list[ImageView]


def view_images(seen: Seen) -> ImagesView:
    """By name; those of lost executors too, for which a task would wait."""
    holders: dict[str, list[ImageHolder]] = {}
    for executor in seen.executors:
        for image in executor.record.images:
            holders.setdefault(image.name, []).append(
                ImageHolder(
                    executor=executor.record.name,
                    state=executor.record.state,
                    identity=image.identity,
                    size_bytes=image.size_bytes,
                )
            )
    return ImagesView(
        images=[
            ImageView(
                name=name,
                online=any(each.state is SessionState.ONLINE for each in found),
                uniform=len({each.identity for each in found}) == 1,
                executors=found,
            )
            for name, found in sorted(holders.items())
        ]
    )
