"""From options of arrays to the document of a job, and what a bar says."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from khala.client import NewTask, StageOf
from khala.client.jobs import NewJob
from khala.model.errors import Rejected
from khala.model.job import JobState
from khala.protocol.v2 import Counts, Job
from roles.client.job_acts import bar, read_entries

TASK = NewTask(execute=StageOf("true"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_job(done: bool = False, **counts: int) -> Job:
    return Job(
        id="6b04d4787d852fb9eb000000",  # type: ignore[arg-type]
        user=0,
        name="",
        state=JobState.RUNNING,
        done=done,
        size=1000,
        counts=Counts(**counts),
        array="0-999",
        limit=None,
        max_fails=None,
        stopped=None,
        created_at=NOW,
        updated_at=NOW,
        finished_at=None,
    )


def test_a_document_holds_what_was_given_and_nothing_else() -> None:
    task = TASK.document()
    job = NewJob(task=TASK, array="0-9%3", entries=["a", ""], max_fails=0)
    assert job.document() == {
        "task": task,
        "array": "0-9%3",
        "entries": ["a", ""],
        "max_fails": 0,
    }
    assert NewJob(tasks=(TASK, TASK), name="two").document() == {
        "name": "two",
        "tasks": [task, task],
    }


def test_entries_are_lines_or_items(tmp_path: Path) -> None:
    lines, items = tmp_path / "lines", tmp_path / "items"
    lines.write_text("one\ntwo words\n\nlast")
    items.write_text('["text", 5, {"a": [1]}]')
    assert read_entries(str(lines), None) == ["one", "two words", "", "last"]
    assert read_entries(None, str(items)) == ["text", "5", '{"a":[1]}']
    assert read_entries(None, None) is None


def test_entries_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "items").write_text("{}")
    with pytest.raises(Rejected, match=r"--from-json: .* holds no JSON list"):
        read_entries(None, str(tmp_path / "items"))
    with pytest.raises(Rejected, match=r"--each-line: .* cannot be read"):
        read_entries(str(tmp_path / "none"), None)
    with pytest.raises(Rejected, match="only one of them"):
        read_entries("a", "b")


def test_a_bar_says_how_far_it_is_and_how_long_it_takes() -> None:
    job = a_job(succeeded=638, failed=3, running=50, queued=309)
    assert bar(job, 2.0) == "[############········] 641/1000  running 50  failed 3  ETA 3m00s"
    assert bar(a_job(queued=1000), 0.0) == "[····················] 0/1000"
    ended = bar(a_job(done=True, succeeded=999, error=1), 5.0)
    assert ended == "[####################] 1000/1000  failed 1"
