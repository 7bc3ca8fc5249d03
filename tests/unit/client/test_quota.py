"""`quota`: how bounds are written, shown and set, and when a change is said to be in force."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from khala.cli import cli
from khala.client import AsyncKhala
from khala.config.values import Kind
from khala.model.errors import Rejected
from khala.protocol.v2 import (
    ClusterConfig,
    ClusterQuotas,
    GatewayConfig,
    JudicatorConfig,
    Keeping,
    QuotaBounds,
    QuotaConfig,
    QuotasInForce,
    SetBounds,
)
from roles.client import in_force, quota
from roles.client.tables import Form

FREE: dict[str, int | None] = {"queued": None, "running": None, "cpu_s": None, "stored_bytes": None}


def judicator(name: str, revision: int | None) -> JudicatorConfig:
    default = QuotaBounds(**(FREE | {"queued": 500}))
    in_force = None
    if revision is not None:
        users = {
            "7": QuotaBounds(**{**FREE, "queued": 500, "cpu_s": 7200, "stored_bytes": 1 << 30})
        }
        in_force = QuotasInForce(revision=revision, default=default, users=users)
    return JudicatorConfig(
        name=name,
        retention=Keeping(age_s=None, count=None, size_bytes=None),
        quotas=QuotaConfig(default=QuotaBounds(**FREE), users={}),
        audit_s=1.0,
        backups_kept=7,
        in_force=in_force,
    )


def config(revision: int, *judicators: JudicatorConfig, differing: bool = False) -> ClusterConfig:
    return ClusterConfig(
        quotas=ClusterQuotas(
            revision=revision,
            default=SetBounds(**FREE),
            users={"7": SetBounds(**(FREE | {"running": 0, "cpu_s": 7200}))},
        ),
        judicators=list(judicators),
        differing=["quotas"] if differing else [],
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

    async def set_quotas(self, quotas: Mapping[str, object]) -> ClusterConfig:
        self.patches.append(quotas)
        return await self.cluster_config()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_force, "_LOOK_S", 0.0)


def of(khala: Khala) -> AsyncKhala:
    return cast(AsyncKhala, khala)


@pytest.mark.parametrize(("text", "said"), [("300ms", 1), ("1.4s", 1), ("0", 0), ("none", 0)])
def test_less_than_one_is_not_no_bound(text: str, said: int) -> None:
    assert in_force.amount("cpu", Kind.SECONDS, text) == said


async def test_amounts_are_written_as_judicators_options_are() -> None:
    khala = Khala(config(1, judicator("a", 1)))
    given = {"queued": "1_000", "running": "none", "cpu": "2h", "bytes": "20GiB"}
    await quota.set_quota(of(khala), "07", given, Form.JSON)
    await quota.set_quota(of(khala), "default", {"queued": "0", "running": None}, Form.JSON)
    await quota.unset_quota(of(khala), "7", Form.JSON)
    await quota.unset_quota(of(khala), "default", Form.JSON)
    bounds = {"queued": 1000, "running": 0, "cpu_s": 7200, "stored_bytes": 20 << 30}
    assert khala.patches == [
        {"users": {"7": bounds}},
        {"default": {"queued": 0}},
        {"users": {"7": None}},
        {"default": None},
    ]


@pytest.mark.parametrize(
    ("user", "given", "why"),
    [
        ("7", {"cpu": "long"}, "--cpu: .*duration.*or none"),
        ("7", {"queued": "1.5"}, "--queued: .*whole number"),
        ("7", {"queued": "1_"}, "--queued: .*whole number"),
        ("7", {"queued": None}, "which bound"),
        ("ada", {"queued": "1"}, "USER: a user's number or `default` is expected, 'ada'"),
    ],
)
async def test_what_is_no_amount_or_no_user_is_named(
    user: str, given: dict[str, str | None], why: str
) -> None:
    khala = Khala(config(1))
    with pytest.raises(Rejected, match=why):
        await quota.set_quota(of(khala), user, given, Form.TABLE)
    assert not khala.patches


async def test_a_change_is_over_when_every_judicator_goes_by_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    a = judicator("a", 3)
    khala = Khala(config(3, a, judicator("b", 2)), config(3, a, judicator("b", 3)))
    await quota.set_quota(of(khala), "7", {"running": "none"}, Form.TABLE)
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["USER", "QUEUED", "RUNNING", "CPU", "BYTES", "SET"],
        ["default", "500", "none", "none", "none", "-"],
        ["7", "500", "none", "2h", "1GiB", "running,cpu"],
    ]
    assert not err
    khala = Khala(config(3, a, judicator("b", 2), judicator("old", None), differing=True))
    await quota.unset_quota(of(khala), "7", Form.NAME)
    out, err = capsys.readouterr()
    assert out == "default\n7\n"
    assert [line.split()[1] for line in err.splitlines()] == ["b", "old", "judicators"]


async def test_programs_get_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    await quota.list_quotas(of(Khala(config(1, judicator("a", 1)))), Form.JSON)
    listed = json.loads(capsys.readouterr().out)
    assert listed[1] == {
        "user": "7",
        "queued": 500,
        "running": None,
        "cpu_s": 7200,
        "stored_bytes": 1 << 30,
        "set": ["running", "cpu_s"],
    }
    await quota.list_quotas(of(Khala(config(1))), Form.JSON)
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("words", [[], ["--user", "7"], ["show"], ["-o", "json"]])
def test_without_a_word_it_shows_what_a_user_has(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    asked: list[int | None] = []

    async def show(_: AsyncKhala, user: int | None, __: Form) -> int:
        asked.append(user)
        return 0

    monkeypatch.setattr(quota, "show_quota", show)
    done = CliRunner().invoke(cli, ["quota", *words], catch_exceptions=False)
    assert (done.exit_code, asked) == (0, [7 if "7" in words else None])


def test_help_is_that_of_all_its_words() -> None:
    shown = CliRunner().invoke(cli, ["quota", "--help"], catch_exceptions=False).output
    assert all(f"\n  {word} " in shown for word in ("show", "ls", "set", "unset"))


def test_a_shell_completes_its_words() -> None:
    completing = ShellComplete(cli, {}, "khala.pex", "_X")
    offered = [each.value for each in completing.get_completions(["quota"], "")]
    assert offered == ["ls", "set", "show", "unset"]
