"""A command that is run once beside a service."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from khala.model.errors import Unavailable
from khala.supervise.once import run_once

#: Far longer than anything here takes.
PATIENCE_S = 60.0


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


async def test_what_it_says_is_kept_up_to_a_bound() -> None:
    program = (
        "import sys; print('x' * 100000); sys.stderr.write('saving\\nno room\\n'); sys.exit(3)"
    )
    ended = await run_once(python(program), within_s=PATIENCE_S, said_bytes=1000)
    assert (ended.code, ended.why) == (3, "no room")
    assert ended.said == b"x" * 999 + b"\n"


async def test_one_that_says_nothing_is_told_by_its_end() -> None:
    ended = await run_once(python("import os; os.kill(os.getpid(), 9)"), within_s=60, said_bytes=10)
    assert ended.why == "it ended with signal 9 and said nothing"


async def test_one_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(Unavailable, match=r"had not ended after 0\.5 s"):
        await run_once(python("import time; time.sleep(600)"), within_s=0.5, said_bytes=10)


async def test_one_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match="could not be started"):
        await run_once(("true",), within_s=PATIENCE_S, said_bytes=10)


async def test_it_ends_with_whoever_waits_for_it(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    program = (
        f"import os, time; open({str(file)!r} + '.new', 'w').write(str(os.getpid()));"
        f" os.rename({str(file)!r} + '.new', {str(file)!r}); time.sleep(600)"
    )
    waiting = asyncio.create_task(run_once(python(program), within_s=600, said_bytes=10))
    async with asyncio.timeout(PATIENCE_S):
        while not file.exists():
            await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait({waiting})
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)
