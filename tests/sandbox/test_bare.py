"""The base line runs the same jail, and fails loudly when its command does."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec
import pytest

from sandbox import Job, SandboxConfig, SandboxLost
from sandbox.bare import run_bare
from tests.sandbox.harness import UID_BASE, Runner, everything


@pytest.fixture
def bare_config(runner: Runner) -> SandboxConfig:
    """Of its own name: the runner's is open."""
    return msgspec.structs.replace(
        runner.config, name=f"test-bare-{secrets.token_hex(4)}", uid_base=UID_BASE + 100
    )


@pytest.mark.parametrize("workers", [1, 2])
async def test_bare(runner: Runner, bare_config: SandboxConfig, workers: int) -> None:
    job: Job = runner.job("grep Seccomp: /proc/self/status")
    result = run_bare(bare_config, job, runs=5, workers=workers)
    assert len(result.latencies_ms) == 5
    assert 0 < max(result.latencies_ms) <= result.elapsed_s * 1000
    assert result.cpu_ms_per_run > 0
    assert Path(job.stdout).read_text() == "Seccomp:\t2\n"
    assert everything(bare_config) == []


async def test_a_failing_command(runner: Runner, bare_config: SandboxConfig) -> None:
    with pytest.raises(SandboxLost, match="wait status"):
        run_bare(bare_config, runner.job("exit 1"), runs=2, workers=2)
    assert everything(bare_config) == []
