"""What a `PATCH` says of a task: a merge patch (RFC 7396) on the few fields that may change."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from khala.model.limits import LABEL_VALUE_CHARS, LABELS
from khala.model.order import PRIORITY_MAX
from khala.model.patch import Patch
from roles.gateway.bounds import entries, told
from roles.gateway.documents import parse_document
from roles.gateway.issues import Issues
from roles.gateway.spec import LABEL_KEY, Keeping, Name, Priority
from roles.gateway.spec_limits import check_range
from roles.gateway.spec_order import check_labels, check_name
from roles.gateway.spec_tries import check_retention

MERGE_PATCH = "application/merge-patch+json"
_Value: TypeAlias = Annotated[
    Any, told(anyOf=[{"type": "string", "maxLength": LABEL_VALUE_CHARS}, {"type": "null"}])
]
ChangedLabels: TypeAlias = Annotated[dict[str, _Value], entries(LABELS, LABEL_KEY)]


class PatchSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another of a task; what is not given stays, and null is the default."""

    name: Name | UnsetType | None = UNSET
    #: Those that are given are added or replaced, null takes one away; null alone, all of them.
    labels: ChangedLabels | UnsetType | None = UNSET
    #: Only while it waits. A point is worth a minute of waiting, from its submission on.
    priority: Priority | UnsetType | None = UNSET
    #: Only while it waits: it does not begin before it is released, with false.
    held: bool | UnsetType | None = UNSET
    #: How long after its end it is removed; null: as the cluster keeps any.
    retention: Keeping | UnsetType | None = UNSET


_decoder = msgspec.json.Decoder(PatchSpec)


def patch_in(body: bytes) -> Patch:
    """Raise `Rejected` if it is not JSON, `Invalid` with every fault."""
    return patch_of(parse_document(_decoder, body), "")


def patch_of(given: PatchSpec, pointer: str) -> Patch:
    """`pointer`: where it stands in its document. Raise `Invalid` with every fault."""
    issues = Issues()
    name = None if given.name is UNSET else given.name or ""
    check_name(name or "", issues)
    priority = None if given.priority is UNSET else given.priority or 0
    if priority is not None:
        check_range(priority, -PRIORITY_MAX, PRIORITY_MAX, "/priority", issues)
    kept = None if given.retention is UNSET else given.retention
    retention_s = check_retention(kept, issues)
    labels = {} if given.labels is UNSET else given.labels or {}
    set_to = {key: "" if value is None else value for key, value in labels.items()}
    checked = check_labels(set_to, "/labels", issues)
    issues.raise_if_any(pointer)
    return Patch(
        name=name,
        labels={key: None if labels[key] is None else value for key, value in checked.items()},
        drops_labels=given.labels is None,
        priority=priority,
        held=None if given.held is UNSET else given.held or False,
        retention_s=retention_s,
        drops_retention=given.retention is None,
    )
