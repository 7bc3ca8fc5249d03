"""What a `PATCH` says of the cluster's settings: a merge patch (RFC 7396) on what is set in the
cluster, quotas and what is kept. All else is its hosts', and is refused with the word where it is
set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from khala.config.keeping import BOUNDS, RETENTION_BOUNDS
from khala.config.table_kept import QUOTAS
from khala.model.access_limits import USER_NUMBER_MAX
from khala.model.cluster_settings import ClusterSettings
from khala.model.errors import Rejected
from khala.model.keeping import ToldKeeping
from khala.model.limits import QUOTA_USERS
from khala.model.quota import ToldQuota, ToldQuotas
from khala.protocol.v2 import Issue, IssueCode
from roles.gateway.bounds import entries, told, within
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid, Issues, step
from roles.gateway.presets import merged
from roles.gateway.spec_limits import check_range

#: As judicators' own options have it.
_MOST = {each.key: int(each.maximum) for each in QUOTAS if each.maximum is not None}
_QUEUED = _MOST["quota.queued"]
_RUNNING = _MOST["quota.running"]
_CPU_S = _MOST["quota.cpu"]
_BYTES = _MOST["quota.bytes"]
_USER_KEY = r"^(0|[1-9][0-9]{0,9})$"
_USER = re.compile(_USER_KEY.replace("$", r"\Z"))
_USER_DIGITS = 11


def _none_or(least: float, most: float) -> msgspec.Meta:
    """0 stands for no bound."""
    return told(minimum=0, maximum=int(most), anyOf=[{"const": 0}, {"minimum": int(least)}])


class BoundsPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another bound; 0: none, null: nothing is said here any more."""

    queued: Annotated[int, within(0, _QUEUED)] | UnsetType | None = UNSET
    running: Annotated[int, within(0, _RUNNING)] | UnsetType | None = UNSET
    #: Processor seconds a day.
    cpu_s: Annotated[int, within(0, _CPU_S)] | UnsetType | None = UNSET
    stored_bytes: Annotated[int, within(0, _BYTES)] | UnsetType | None = UNSET


#: Decoded one by one, so that a fault is told with the number of its user.
_User: TypeAlias = Annotated[
    msgspec.Raw, told(anyOf=[{"$ref": "#/components/schemas/BoundsPatch"}, {"type": "null"}])
]
_Told = TypeVar("_Told", ToldQuotas, ToldKeeping)
_Users: TypeAlias = Annotated[dict[str, _User], entries(QUOTA_USERS, _USER_KEY)]


class QuotasPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: Of everybody; null: as judicators were told.
    default: BoundsPatch | UnsetType | None = UNSET
    #: Of single users, by number; null takes away what is set for one, or for all of them.
    users: _Users | UnsetType | None = UNSET


class RetentionPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is to be kept of what has ended; 0: no bound, null: nothing is said here any more,
    so that what judicators were told holds."""

    age_s: Annotated[float, _none_or(*RETENTION_BOUNDS["age_s"])] | UnsetType | None = UNSET
    count: Annotated[int, within(*RETENTION_BOUNDS["count"])] | UnsetType | None = UNSET
    size_bytes: Annotated[int, within(*RETENTION_BOUNDS["size_bytes"])] | UnsetType | None = UNSET


class KeepingPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What keeps more is in force at once, what keeps less a day later."""

    retention: RetentionPatch | UnsetType | None = UNSET
    #: How long entries of the audit log are kept that are written from then on; null: as
    #: judicators were told.
    audit_s: Annotated[float, within(*BOUNDS["audit_s"])] | UnsetType | None = UNSET
    #: By each judicator; null: as it was told.
    backups_kept: Annotated[int, within(*BOUNDS["backups_kept"])] | UnsetType | None = UNSET


class ConfigPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: What is not given stays; null takes away all that is set.
    quotas: QuotasPatch | UnsetType | None = UNSET
    #: As above.
    keeping: KeepingPatch | UnsetType | None = UNSET


_decoder = msgspec.json.Decoder(ConfigPatch)
_bounds_decoder = msgspec.json.Decoder(BoundsPatch | None)
_MOST_OF = {"queued": _QUEUED, "running": _RUNNING, "cpu_s": _CPU_S, "stored_bytes": _BYTES}
_ON_HOST = "this is not changed over HTTP: set the options of"
#: What to do about that which is not changed in this place.
_ELSEWHERE = {
    **{f"/{name}": f"give it as /keeping/{name}" for name in ("retention", *BOUNDS)},
    "/judicators": f"{_ON_HOST} each judicator, on its host; restart it",
    "/gateway": f"{_ON_HOST} this gateway, on its host; restart it",
}


def config_patch_in(body: bytes) -> ConfigPatch:
    """Raise `Rejected` if it is not JSON, `Invalid` with every fault."""
    try:
        patch = parse_document(_decoder, body)
    except Invalid as error:
        raise Invalid([_placed(each) for each in error.issues]) from error
    issues = Issues()
    if isinstance(patch.quotas, QuotasPatch):
        _check_bounds(patch.quotas.default, "/quotas/default", issues)
        _check_users(patch.quotas.users or {}, issues)
    if isinstance(patch.keeping, KeepingPatch):
        _check_keeping(patch.keeping, issues)
    issues.raise_if_any()
    return patch


def patched(known: ClusterSettings, patch: ConfigPatch) -> tuple[ToldQuotas, ToldKeeping]:
    """What is set then. A user of whom nothing is said is as one that is not named."""
    given = msgspec.json.decode(msgspec.json.encode(patch))
    quotas = _merged(known.quotas, given.get("quotas", {}))
    users = {user: each for user, each in sorted(quotas.users.items()) if each != ToldQuota()}
    return replace(quotas, users=users), _merged(known.keeping.told, given.get("keeping", {}))


def _merged(known: _Told, given: object) -> _Told:
    whole = merged(msgspec.to_builtins(known, str_keys=True), given)
    return msgspec.convert(whole or {}, type(known), strict=False)


def too_many_users(error: Rejected, count: int) -> Invalid:
    """Together with those that are set, which only a judicator refuses."""
    issues = Issues()
    pointer = error.field or ""
    issues.add(pointer, IssueCode.TOO_MANY, error.message, limit=QUOTA_USERS, given=count)
    return Invalid(issues.found)


def _check_users(users: Mapping[str, msgspec.Raw], issues: Issues) -> None:
    if len(users) > QUOTA_USERS:
        detail = f"{len(users)} users are more than {QUOTA_USERS}; set the bounds of everybody"
        issues.add("/quotas/users", IssueCode.TOO_MANY, detail, limit=QUOTA_USERS, given=len(users))
        return
    for user, raw in users.items():
        at = "/quotas/users" + step(user[:_USER_DIGITS])
        if not _USER.match(user) or int(user) > USER_NUMBER_MAX:
            detail = f"a user's number is needed, from 0 to {USER_NUMBER_MAX}"
            issues.add(at, IssueCode.INVALID_VALUE, detail, limit=USER_NUMBER_MAX, given=user)
        try:
            _check_bounds(parse_document(_bounds_decoder, bytes(raw)), at, issues)
        except Invalid as error:
            for each in error.issues:
                where = at + each.pointer
                issues.add(where, each.code, each.detail, limit=each.limit, given=each.given)


def _check_bounds(bounds: BoundsPatch | UnsetType | None, at: str, issues: Issues) -> None:
    if isinstance(bounds, BoundsPatch):
        for name, most in _MOST_OF.items():
            if isinstance(value := getattr(bounds, name), int):
                check_range(value, 0, most, at + step(name), issues)


def _check_keeping(keeping: KeepingPatch, issues: Issues) -> None:
    retention = keeping.retention if isinstance(keeping.retention, RetentionPatch) else None
    for name, (least, most) in RETENTION_BOUNDS.items():
        value = getattr(retention, name, None)
        if isinstance(value, int | float) and value:
            check_range(value, least, most, "/keeping/retention" + step(name), issues)
    for name, (least, most) in BOUNDS.items():
        if isinstance(value := getattr(keeping, name), int | float):
            check_range(value, least, most, "/keeping" + step(name), issues)


def _placed(issue: Issue) -> Issue:
    """There is such a setting, in another place."""
    where = _ELSEWHERE.get(issue.pointer)
    if where is None or issue.code is not IssueCode.UNKNOWN_FIELD:
        return issue
    return replace(issue, detail=where)
