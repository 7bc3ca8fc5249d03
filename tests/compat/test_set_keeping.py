"""What is kept, changed while a cluster runs: more is in force within seconds, less is told a day
before, and outlives the death of its judicator."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.cluster.harness import Khala
from tests.compat.conftest import Up, running
from tests.compat.test_quotas import post, read, submit
from tests.compat.test_set_quotas import CONFIG, change, comes_true, read_if_served
from tests.compat.test_v2_depends import ended

DAY_S = 86400.0
NO_BOUND = {"age_s": None, "count": None, "size_bytes": None}
HOSTS = {"retention": NO_BOUND | {"age_s": DAY_S}, "audit_s": 2 * DAY_S, "backups_kept": 2}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    options = ("--retention-age", "1d", "--audit-days", "2", "--backups-kept", "2")
    with running(tmp_path_factory.mktemp("keeping"), *options) as up:
        yield up


def in_force(base: str) -> Any:
    """None while there is no judicator."""
    config = read_if_served(base, CONFIG)
    return config and [each["keeping"] for each in config["judicators"]]


def test_more_is_in_force_at_once_and_less_is_told_a_day_before(up: Up) -> None:
    assert in_force(up.url) == [HOSTS]
    task = submit(up.url, 7, "true")
    assert ended(up.url, task)["state"] == "succeeded"
    longer = {"retention": {"age_s": 30 * DAY_S}, "backups_kept": 4}
    status, answer = change(up.url, {"keeping": longer})
    assert (status, answer["keeping"]["less_from"]) == (200, None)
    more = HOSTS | {"retention": NO_BOUND | {"age_s": 30 * DAY_S}, "backups_kept": 4}
    comes_true(lambda: in_force(up.url) == [more], within_s=5)

    shorter = {"retention": {"age_s": 3600, "count": 1}, "audit_s": DAY_S, "backups_kept": 1}
    status, answer = change(up.url, {"keeping": shorter})
    assert status == 200
    said = answer["keeping"]
    dates = [datetime.fromisoformat(said[name]) for name in ("changed_at", "less_from")]
    assert dates[1] - dates[0] == timedelta(days=1)
    assert said["retention"] == {"age_s": 3600.0, "count": 1, "size_bytes": None}
    # A judicator that begins has nothing but what is stored.
    Khala(up.data_dir).kill9("judicator-serve")
    comes_true(lambda: in_force(up.url) == [more])
    collected = post(up.url, {"dry_run": False}, "gc")[1]
    assert collected["kept"] == more["retention"]
    assert collected["tasks"] == 0
    assert read(up.url, f"tasks/{task}")["state"] == "succeeded"

    status, answer = change(up.url, {"keeping": longer | {"retention": None, "audit_s": None}})
    assert (status, answer["keeping"]["retention"]) == (200, NO_BOUND)


def test_what_is_kept_stands_in_the_audit_log_as_it_was_said(up: Up) -> None:
    assert change(up.url, {"keeping": {"backups_kept": 6}})[0] == 200
    newest = read(up.url, "audit?act=config.patch")["items"][0]
    assert (newest["status"], newest["detail"]) == (200, 'keeping {"backups_kept":6}')


def test_a_number_that_no_host_may_be_told_is_refused(up: Up) -> None:
    status, answer = change(up.url, {"keeping": {"retention": {"age_s": 60}}})
    assert status == 422
    [issue] = answer["errors"]
    assert (issue["pointer"], issue["limit"]) == ("/keeping/retention/age_s", 3600)
