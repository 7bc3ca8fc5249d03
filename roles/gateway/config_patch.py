"""What a `PATCH` says of the cluster's settings: a merge patch (RFC 7396) on the quotas that are
set in the cluster. All others are their hosts', and are refused with the word where they are set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from khala.config.table_kept import QUOTAS
from khala.model.access_limits import USER_NUMBER_MAX
from khala.model.errors import Rejected
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
_Users: TypeAlias = Annotated[dict[str, _User], entries(QUOTA_USERS, _USER_KEY)]


class QuotasPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: Of everybody; null: as judicators were told.
    default: BoundsPatch | UnsetType | None = UNSET
    #: Of single users, by number; null takes away what is set for one, or for all of them.
    users: _Users | UnsetType | None = UNSET


class ConfigPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: What is not given stays; null takes away all that is set.
    quotas: QuotasPatch | UnsetType | None = UNSET


_decoder = msgspec.json.Decoder(ConfigPatch)
_bounds_decoder = msgspec.json.Decoder(BoundsPatch | None)
_MOST_OF = {"queued": _QUEUED, "running": _RUNNING, "cpu_s": _CPU_S, "stored_bytes": _BYTES}
_JUDICATORS = "of every judicator, on its host; restart them one by one"
#: Where that is said which nobody changes here.
_ELSEWHERE = {
    "/retention": "--retention-age, --retention-count and --retention-bytes " + _JUDICATORS,
    "/audit_s": "--audit-days " + _JUDICATORS,
    "/backups_kept": "--backups-kept " + _JUDICATORS,
    "/judicators": "the options of each judicator, on its host; restart it",
    "/gateway": "the options of this gateway, on its host; restart it",
}


def config_patch_in(body: bytes) -> ConfigPatch:
    """Raise `Rejected` if it is not JSON, `Invalid` with every fault."""
    try:
        patch = parse_document(_decoder, body)
    except Invalid as error:
        raise Invalid([_placed(each) for each in error.issues]) from error
    issues = Issues()
    if isinstance(patch.quotas, QuotasPatch):
        _check_bounds(patch.quotas.default, "/default", issues)
        _check_users(patch.quotas.users or {}, issues)
    issues.raise_if_any("/quotas")
    return patch


def patched(known: ToldQuotas, patch: ConfigPatch) -> ToldQuotas:
    """What is set then. A user of whom nothing is said is as one that is not named."""
    given = msgspec.json.decode(msgspec.json.encode(patch)).get("quotas", {})
    whole = merged(msgspec.to_builtins(known, str_keys=True), given)
    following = msgspec.convert(whole or {}, ToldQuotas, strict=False)
    users = {user: each for user, each in sorted(following.users.items()) if each != ToldQuota()}
    return replace(following, users=users)


def too_many_users(error: Rejected, count: int) -> Invalid:
    """Together with those that are set, which only a judicator refuses."""
    issues = Issues()
    pointer = error.field or ""
    issues.add(pointer, IssueCode.TOO_MANY, error.message, limit=QUOTA_USERS, given=count)
    return Invalid(issues.found)


def _check_users(users: Mapping[str, msgspec.Raw], issues: Issues) -> None:
    if len(users) > QUOTA_USERS:
        detail = f"{len(users)} users are more than {QUOTA_USERS}; set the bounds of everybody"
        issues.add("/users", IssueCode.TOO_MANY, detail, limit=QUOTA_USERS, given=len(users))
        return
    for user, raw in users.items():
        at = "/users" + step(user[:_USER_DIGITS])
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


def _placed(issue: Issue) -> Issue:
    """There is such a setting, in another place."""
    where = _ELSEWHERE.get(issue.pointer)
    if where is None or issue.code is not IssueCode.UNKNOWN_FIELD:
        return issue
    return replace(issue, detail=f"this is not changed over HTTP: set {where}")
