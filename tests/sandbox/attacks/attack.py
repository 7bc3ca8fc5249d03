"""One attack: what it runs, how it must end, what it prints if it got nowhere.

A program that reaches something it must not reach prints ESCAPE. That alone would prove little, as
a program that does not even start prints nothing either; so every attack also names what it prints
when it was tried and failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import pytest

from khala.model.limits import MIB
from khala.model.outcome import Reason
from khala.model.spec import Network, Stage
from tests.sandbox.attacks.probe import PROBE
from tests.sandbox.harness import Ran, Runner

#: Lets a table say that the way of the end is not the point.
ANY = tuple(Reason)
EXITED = (Reason.OK, Reason.EXIT_NONZERO)
KILLED = (Reason.WALL_TIME, Reason.CPU_TIME)


@dataclass(frozen=True, kw_only=True)
class Attack:
    name: str
    #: A bash script; `probe` is beside it (see probe/), and so are the files.
    command: str
    #: A regular expression for the whole of stdout, without the last newline.
    says: str = ""
    reasons: tuple[Reason, ...] = (Reason.OK,)
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    stage: Stage = Stage.EXECUTE
    network: Network = Network.LOOPBACK


def cases(attacks: Iterable[Attack]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("attack", [pytest.param(one, id=one.name) for one in attacks])


async def strike(runner: Runner, attack: Attack, slot: int = 0) -> Ran:
    """Run it in the slot; assert how it ended and what it said."""
    job = runner.job("chmod +x probe\n" + attack.command, stage=attack.stage)
    limits = {"memory_bytes": 128 * MIB, **attack.limits}
    job = msgspec.structs.replace(
        job, limits=msgspec.structs.replace(job.limits, **limits), network=attack.network
    )
    async with runner.sandbox.box(slot) as box:
        await box.put("probe", PROBE.path())
        for name, content in attack.files.items():
            await box.put(name, _bytes(content))
        ran = await runner.finish(box, job)
    said = ran.stdout.decode(errors="replace").rstrip("\n")
    shown = f"{ran.outcome}\n{said[-3000:]}\n{ran.stderr.decode(errors='replace')[-1000:]}"
    assert "ESCAPE" not in said and b"ESCAPE" not in ran.stderr, shown
    assert ran.outcome.reason in attack.reasons, shown
    assert re.fullmatch(attack.says, said, re.DOTALL), shown
    return ran


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
