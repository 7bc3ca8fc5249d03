"""Quotas of single users, as `--quota-user` gives them: the default's names, units and limits."""

from __future__ import annotations

from collections.abc import Iterable

from khala.config.setting import Setting
from khala.config.table_kept import QUOTAS
from khala.config.values import parse
from khala.model.errors import Rejected
from khala.model.quota import ToldQuota, ToldQuotas

_USER_DIGITS = 10
_BY_NAME = {each.key.removeprefix("quota."): each for each in QUOTAS if each.maximum is not None}
_FIELDS = {"queued": "queued", "running": "running", "cpu": "cpu_s", "bytes": "size_bytes"}


def quotas_of(default: ToldQuota, given: Iterable[str]) -> ToldQuotas:
    """`given`: USER:NAME=AMOUNT;NAME=AMOUNT, such as `7:running=4;queued=0`, where 0 is no bound
    and what is not named is the default. Raise `Rejected`."""
    users: dict[int, ToldQuota] = {}
    for text in given:
        user, amounts = _parsed(text)
        if user in users:
            raise _wrong(text, f"user {user} has one already; separate amounts with ;")
        users[user] = ToldQuota(**{_FIELDS[name]: amount for name, amount in amounts.items()})
    return ToldQuotas(default=default, users=users)


def _parsed(text: str) -> tuple[int, dict[str, int]]:
    user, colon, rest = text.partition(":")
    if not colon or not user.isdecimal() or len(user) > _USER_DIGITS:
        raise _wrong(text, "USER:NAME=AMOUNT, such as 7:running=4;queued=100, is expected")
    amounts: dict[str, int] = {}
    for item in rest.split(";"):
        name, _, amount = (part.strip() for part in item.partition("="))
        if name not in _BY_NAME:
            raise _wrong(text, f"a name is one of {', '.join(_BY_NAME)}, {name[:40]!r} is not")
        if name in amounts:
            raise _wrong(text, f"{name} is given twice")
        amounts[name] = _amount(text, _BY_NAME[name], amount)
    return int(user), amounts


def _amount(text: str, setting: Setting, amount: str) -> int:
    try:
        value = parse(setting.kind, amount)
    except ValueError as error:
        raise _wrong(text, str(error)) from None
    if not isinstance(value, int | float) or not 0 <= value <= (setting.maximum or 0):
        raise _wrong(text, f"{amount[:40]} is more than {setting.flag} may be")
    return round(value)


def _wrong(text: str, why: str) -> Rejected:
    return Rejected(f"{text[:80]!r}: {why}")
