"""Settings of what a cluster keeps and saves, and of what one user may have of it; part of
`khala.config.table`."""

from __future__ import annotations

from khala.config.setting import J, Setting
from khala.config.values import Kind
from khala.model.limits import AUDIT_DAYS_MAX, BACKUPS_MAX

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
BACKUPS = (
    Setting(
        key="backups.kept",
        flag="--backups-kept",
        kind=Kind.INT,
        default=7,
        help="How many backups that were asked for by HTTP this judicator keeps in its --data-dir;"
        " when one more is there, the oldest goes.",
        roles=(J,),
        minimum=1,
        maximum=BACKUPS_MAX,
    ),
)
QUOTAS = (
    Setting(
        key="quota.queued",
        flag="--quota-queued",
        kind=Kind.INT,
        default=0,
        default_text="0, no limit",
        help="Tasks of one user that may wait, those of jobs included; more are refused.",
        roles=(J,),
        minimum=0,
        maximum=1_000_000_000,
    ),
    Setting(
        key="quota.running",
        flag="--quota-running",
        kind=Kind.INT,
        default=0,
        default_text="0, no limit",
        help="Tasks of one user that may run at a time; more wait, in nobody's way.",
        roles=(J,),
        minimum=0,
        maximum=1_000_000,
    ),
    Setting(
        key="quota.cpu",
        flag="--quota-cpu",
        kind=Kind.SECONDS,
        default=0.0,
        default_text="0, no limit",
        help="Processor time of one user's tasks a day (UTC), such as 10h; beyond it they wait.",
        roles=(J,),
        minimum=0,
        maximum=3_153_600_000,
    ),
    Setting(
        key="quota.bytes",
        flag="--quota-bytes",
        kind=Kind.SIZE,
        default=0,
        default_text="0, no limit",
        help="What one user's tasks and their outputs may take up, without blobs; then new ones are"
        " refused.",
        roles=(J,),
        minimum=0,
        maximum=1 << 50,
    ),
    Setting(
        key="quota.users",
        flag="--quota-user",
        kind=Kind.LIST,
        default=(),
        help="Other quotas of a user: USER:NAME=AMOUNT;NAME=AMOUNT with queued, running, cpu and"
        " bytes, such as 7:running=4;cpu=2h; 0 for no limit.",
        roles=(J,),
    ),
)
AUDIT = (
    Setting(
        key="audit.days",
        flag="--audit-days",
        kind=Kind.INT,
        default=400,
        help="How long an entry of the audit log is kept. What was kept before a change of this"
        " stays as long as it was said then.",
        roles=(J,),
        minimum=1,
        maximum=AUDIT_DAYS_MAX,
    ),
)
