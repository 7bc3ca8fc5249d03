"""Quotas of single users, as operators write them."""

from __future__ import annotations

import pytest

from khala.config.load import Given, load
from khala.config.quotas import quotas_of
from khala.model.errors import Rejected
from khala.model.quota import Quota, ToldQuota, in_force


def test_overrides_replace_what_they_name() -> None:
    given = ("7:running=4;bytes=2GiB", "8:queued=0;cpu=2h")
    quotas = in_force(quotas_of(ToldQuota(queued=10, running=2), given))
    assert quotas.of(1) == Quota(queued=10, running=2)
    assert quotas.of(7) == Quota(queued=10, running=4, size_bytes=2 << 30)
    assert quotas.of(8) == Quota(running=2, cpu_s=7200)
    assert quotas.on
    assert not in_force(quotas_of(ToldQuota(), ())).on


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("7", "USER:NAME=AMOUNT"),
        ("x:running=1", "USER:NAME=AMOUNT"),
        ("7:slots=1", "one of queued, running, cpu, bytes, 'slots' is not"),
        ("7:running=", "not a whole number"),
        ("7:running=2000000", "more than --quota-running may be"),
        ("7:cpu=long", "not a duration"),
        ("7:running=1;running=2", "running is given twice"),
        ("7:running=1,7:queued=1", "user 7 has one already"),
    ],
)
def test_an_override_that_is_none_is_named(text: str, why: str) -> None:
    flags = {"quota.users": Given(value=text, flag="--quota-user")}
    with pytest.raises(Rejected, match=f"--quota-user: .*{why}") as raised:
        load("judicator", flags, {}, None)
    assert raised.value.field == "--quota-user"


def test_settings_become_quotas() -> None:
    environment = {"KHALA_QUOTA_RUNNING": "3", "KHALA_QUOTA_USER": "7:running=0"}
    settings, _ = load("judicator", {}, environment, None)
    quotas = in_force(settings.quota.policy)
    assert (quotas.of(1), quotas.of(7)) == (Quota(running=3), Quota())
