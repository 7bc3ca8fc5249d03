"""`retention`: how it is written, what is shown of now and of later, and what takes it back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from khala.cli import cli
from khala.client import AsyncKhala
from khala.model.errors import Rejected
from khala.protocol.v2 import (
    ClusterConfig,
    ClusterKeeping,
    ClusterQuotas,
    GatewayConfig,
    JudicatorConfig,
    Keeping,
    KeepingInForce,
    QuotaBounds,
    QuotaConfig,
    QuotasInForce,
    SetBounds,
    SetRetention,
)
from roles.client import in_force, retention
from roles.client.tables import Form

DAY = 86_400
LATER = datetime(2026, 11, 29, 14, 3, tzinfo=UTC)
FREE = QuotaBounds(queued=None, running=None, cpu_s=None, stored_bytes=None)
NOTHING: dict[str, Any] = {"age_s": None, "count": None, "size_bytes": None}
#: What each host was told.
HOST: dict[str, Any] = {**NOTHING, "age_s": 30.0 * DAY}


def judicator(
    name: str,
    revision: int = 3,
    *,
    host: Mapping[str, Any] = HOST,
    now: Mapping[str, Any] = HOST,
    old: bool = False,
) -> JudicatorConfig:
    in_force = QuotasInForce(revision=revision, default=FREE, users={})
    keeping = KeepingInForce(retention=Keeping(**now), audit_s=400.0 * DAY, backups_kept=14)
    return JudicatorConfig(
        name=name,
        retention=Keeping(**host),
        quotas=QuotaConfig(default=FREE, users={}),
        audit_s=400.0 * DAY,
        backups_kept=7,
        in_force=in_force,
        keeping=None if old else keeping,
    )


def config(
    *judicators: JudicatorConfig, less_from: datetime | None = None, **said: float
) -> ClusterConfig:
    """Where 14 backups are kept, and `said` of ended tasks."""
    return ClusterConfig(
        quotas=ClusterQuotas(
            revision=3,
            default=SetBounds(queued=None, running=None, cpu_s=None, stored_bytes=None),
            users={},
        ),
        keeping=ClusterKeeping(
            retention=SetRetention(**{**NOTHING, **said}),
            audit_s=None,
            backups_kept=14,
            changed_at=LATER,
            less_from=less_from,
        ),
        judicators=list(judicators),
        differing=[],
        unreachable=[],
        gateway=cast(GatewayConfig, None),
    )


class Khala:
    """Answers with these, one after the other."""

    def __init__(self, *configs: ClusterConfig) -> None:
        self.configs = list(configs)
        self.patches: list[Mapping[str, object]] = []

    async def cluster_config(self) -> ClusterConfig:
        return self.configs.pop(0) if len(self.configs) > 1 else self.configs[0]

    async def set_keeping(self, keeping: Mapping[str, object]) -> ClusterConfig:
        self.patches.append(keeping)
        return await self.cluster_config()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_force, "_LOOK_S", 0.0)


def of(khala: Khala) -> AsyncKhala:
    return cast(AsyncKhala, khala)


async def test_amounts_are_written_as_judicators_options_are() -> None:
    khala = Khala(config(judicator("a")))
    given = {"age": "30d", "count": "1_000_000", "bytes": "200GiB", "audit": "90d", "backups": "14"}
    await retention.set_retention(of(khala), given, Form.JSON)
    await retention.set_retention(of(khala), {"age": "none", "count": None}, Form.JSON)
    await retention.set_retention(of(khala), {"backups": "3"}, Form.JSON)
    await retention.unset_retention(of(khala), ["bytes", "audit"], Form.JSON)
    await retention.unset_retention(of(khala), [], Form.JSON)
    assert khala.patches == [
        {
            "retention": {"age_s": 30 * DAY, "count": 1_000_000, "size_bytes": 200 << 30},
            "audit_s": 90 * DAY,
            "backups_kept": 14,
        },
        {"retention": {"age_s": 0}},
        {"backups_kept": 3},
        {"retention": {"size_bytes": None}, "audit_s": None},
        {"retention": NOTHING, "audit_s": None, "backups_kept": None},
    ]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"age": "long"}, "--age: .*duration.*or none"),
        ({"count": "1.5"}, "--count: .*whole number.*or none"),
        ({"audit": "none"}, "--audit: 'none' is not a duration such as [^;]*$"),
        ({"age": None}, "what is to be kept"),
    ],
)
async def test_what_is_no_amount_is_named(given: dict[str, str | None], why: str) -> None:
    khala = Khala(config(judicator("a")))
    with pytest.raises(Rejected, match=why):
        await retention.set_retention(of(khala), given, Form.TABLE)
    assert not khala.patches


async def test_what_keeps_more_is_over_when_every_judicator_goes_by_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    free = judicator("a", now=NOTHING)
    khala = Khala(
        config(free, judicator("b", 2), age_s=0),
        config(free, judicator("b", now=NOTHING), age_s=0),
    )
    await retention.set_retention(of(khala), {"age": "none"}, Form.TABLE)
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["JUDICATOR", "FROM", "AGE", "COUNT", "BYTES", "AUDIT", "BACKUPS", "SET"],
        ["a", "now", "none", "none", "none", "400d", "14", "age,backups"],
        ["b", "now", "none", "none", "none", "400d", "14", "age,backups"],
    ]
    assert not err
    khala = Khala(config(free, judicator("b", 2), age_s=0))
    await retention.unset_retention(of(khala), ["age"], Form.NAME)
    out, err = capsys.readouterr()
    assert out == "a\nb\n"
    assert err.startswith("khala: b does not go by it yet;")


async def test_what_keeps_less_is_told_with_its_date_and_what_takes_it_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = config(judicator("a"), less_from=LATER, age_s=7.0 * DAY, count=9.0)
    await retention.set_retention(of(Khala(told)), {"age": "7d"}, Form.TABLE)
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["a", "now", "30d", "none", "none", "400d", "14", "age,count,backups"],
        ["a", "2026-11-29T14:03:00Z", "7d", "9", "none", "400d", "14", "age,count,backups"],
    ]
    assert err == (
        "khala: in force from 2026-11-29T14:03:00Z; until then what was in force keeps more."
        " `khala.pex retention unset age count` takes it back\n"
    )


@pytest.mark.parametrize(
    ("hosts", "nows", "back"),
    [
        ([90, 90], [30, 30], "set --age 30d"),
        ([30, 90], [30, 90], "unset age"),
        ([None, 90], [None, 30], "set --age none"),
        ([1, 1], [30, 60], "set --age 60d"),
    ],
)
async def test_what_hosts_were_told_takes_it_back_only_where_that_is_in_force(
    capsys: pytest.CaptureFixture[str],
    hosts: list[float | None],
    nows: list[float | None],
    back: str,
) -> None:
    def days(count: float | None) -> dict[str, Any]:
        return {**NOTHING, "age_s": count and float(count * DAY)}

    judicators = [
        judicator(name, host=days(host), now=days(now))
        for name, host, now in zip("ab", hosts, nows, strict=True)
    ]
    told = config(*judicators, less_from=LATER, age_s=7.0 * DAY)
    await retention.list_retention(of(Khala(told)), Form.TABLE)
    assert f"`khala.pex retention {back}` takes it back" in capsys.readouterr().err


async def test_two_commands_take_back_what_no_single_one_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = {**NOTHING, "age_s": 90.0 * DAY}
    told = config(
        judicator("a", host={**NOTHING, "age_s": 1.0 * DAY}, now=now), less_from=LATER, count=9.0
    )
    await retention.list_retention(of(Khala(told)), Form.TABLE)
    assert (
        "`khala.pex retention unset count` and `khala.pex retention set --age 90d` take it back\n"
    ) in capsys.readouterr().err


async def test_who_is_too_old_or_silent_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    told = config(judicator("a", old=True), less_from=LATER, age_s=7.0 * DAY)
    told.unreachable.append("b")
    await retention.list_retention(of(Khala(told)), Form.TABLE)
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[:3] == ["a", "now", "30d"]
    assert len(out.splitlines()) == 2
    assert [line.split()[1] for line in err.splitlines()] == ["a", "b", "in"]
    assert "takes it back" not in err


async def test_programs_get_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    told = config(judicator("a"), less_from=LATER, age_s=7.0 * DAY)
    await retention.list_retention(of(Khala(told)), Form.JSON)
    now, later = json.loads(capsys.readouterr().out)
    assert now == {
        "judicator": "a",
        "begins_at": None,
        "age_s": 30.0 * DAY,
        "count": None,
        "size_bytes": None,
        "audit_s": 400.0 * DAY,
        "backups_kept": 14,
        "set": ["age_s", "backups_kept"],
    }
    assert later == {**now, "begins_at": "2026-11-29T14:03:00Z", "age_s": 7.0 * DAY}


def test_help_is_that_of_all_its_words() -> None:
    shown = CliRunner().invoke(cli, ["retention", "--help"], catch_exceptions=False).output
    assert all(f"\n  {word} " in shown for word in ("ls", "set", "unset"))
    assert "\n  retention " in CliRunner().invoke(cli, ["--help"], catch_exceptions=False).output


def test_a_shell_completes_its_words() -> None:
    completing = ShellComplete(cli, {}, "khala.pex", "_X")
    offered = [each.value for each in completing.get_completions(["retention"], "")]
    assert offered == ["ls", "set", "unset"]
    offered = [
        each.value for each in completing.get_completions(["retention", "unset", "age"], "b")
    ]
    assert offered == ["bytes", "backups"]
