"""What the tasks of a job wrote, on the real stack: as an archive and one after the other."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

from khala.client import Khala, NewJob, NewTask, StageOf
from tests.compat.test_quotas import PATIENCE_S


def khala(stack: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "khala", "job", "logs", *words, "--url", stack]
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_the_logs_of_a_job_can_be_had_together(stack: str, tmp_path: Path) -> None:
    large = "head -c 100000 /dev/zero | tr '\\0' x >&2"
    command = f"echo I am $KHALA_ARRAY_INDEX; [ $KHALA_ARRAY_INDEX != 7 ] || {large}"
    array = NewJob(task=NewTask(execute=StageOf(command)), array="5-7")
    with Khala(stack) as client:
        job = client.submit_job(array)
        assert client.wait_job(job, PATIENCE_S).done
        with zipfile.ZipFile(io.BytesIO(client.read_job_logs(job))) as archive:
            assert archive.testzip() is None
            found = {name: archive.read(name) for name in archive.namelist()}
        rest = client.read_job_logs(job, after=2)
    assert found == {
        **{f"{index}/stdout": f"I am {index}\n".encode() for index in (5, 6, 7)},
        "7/stderr": b"x" * 100_000,
    }
    assert zipfile.ZipFile(io.BytesIO(rest)).namelist() == ["7/stdout", "7/stderr"]
    shown = khala(stack, job)
    assert shown.stdout == "I am 5\nI am 6\nI am 7\n"
    assert "khala: index 6, succeeded\n" in shown.stderr and "xxxx" in shown.stderr
    file = tmp_path / "logs.zip"
    assert khala(stack, job, "--zip", str(file)).stdout.startswith(str(file))
    assert zipfile.ZipFile(file).namelist() == list(found)
    again = khala(stack, job, "--zip", str(file))
    assert again.returncode == 2 and "exists; give another name with --zip" in again.stderr
    assert khala(stack, f"{job[:-6]}ffffff").returncode != 0
