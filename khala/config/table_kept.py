"""Settings of what a cluster keeps; part of `khala.config.table`."""

from __future__ import annotations

from khala.config.setting import J, Setting
from khala.config.values import Kind

RETENTION = (
    Setting(
        key="retention.age",
        flag="--retention-age",
        kind=Kind.SECONDS,
        default=0.0,
        default_text="0, for ever",
        help="How long tasks are kept after their end, such as 30d; an hour at least.",
        roles=(J,),
        minimum=0,
        maximum=3_153_600_000,
    ),
    Setting(
        key="retention.count",
        flag="--retention-count",
        kind=Kind.INT,
        default=0,
        default_text="0, all",
        help="How many ended tasks are kept: the newest.",
        roles=(J,),
        minimum=0,
        maximum=1_000_000_000,
    ),
    Setting(
        key="retention.bytes",
        flag="--retention-bytes",
        kind=Kind.SIZE,
        default=0,
        default_text="0, no limit",
        help="What tasks, jobs and outputs may take up, uncompressed and without blobs; above it"
        " those that ended first go.",
        roles=(J,),
        minimum=0,
        maximum=1 << 50,
    ),
)
