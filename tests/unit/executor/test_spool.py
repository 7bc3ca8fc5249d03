"""The spool on a real disk: what is whole survives, what is not does not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from khala.model.ids import AttemptNo, TaskId
from khala.model.limits import INLINE_BYTES
from khala.model.outcome import (
    ArtifactRef,
    Artifacts,
    Bundle,
    Chunked,
    Ending,
    Outcome,
    Reason,
    Stream,
)
from roles.executor.spool import Spool

RUN = (TaskId("a" * 24), AttemptNo(3))
OUTCOME = Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK)


def test_small_outputs_travel_inside_the_entry(tmp_path: Path) -> None:
    spool = Spool(tmp_path, slots=1)
    (spool.begin(0) / Stream.EXECUTE_OUTPUT).write_bytes(b"hello")
    (tmp_path / "running" / "0" / "execute_input.part").write_bytes(b"not an output")
    outcome = spool.commit(RUN, 0, OUTCOME)
    assert outcome.streams[Stream.EXECUTE_OUTPUT].inline == b"hello"
    assert set(outcome.streams) == {Stream.EXECUTE_OUTPUT}
    assert Spool(tmp_path, slots=1).load() == {RUN: outcome}


def test_large_outputs_lie_beside_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, slots=1)
    large = b"x" * (INLINE_BYTES + 1)
    (spool.begin(0) / Stream.EXECUTE_OUTPUT).write_bytes(large)
    (tmp_path / "running" / "0" / Stream.EXECUTE_ERROR).write_bytes(b"")
    outcome = spool.commit(RUN, 0, OUTCOME)
    assert outcome.streams[Stream.EXECUTE_OUTPUT].inline is None
    assert outcome.streams[Stream.EXECUTE_ERROR].inline == b""
    again = Spool(tmp_path, slots=1)
    assert again.load() == {RUN: outcome}
    assert again.stream_path(RUN, Stream.EXECUTE_OUTPUT).read_bytes() == large
    again.discard(RUN)
    assert list((tmp_path / "spool").iterdir()) == []


def test_next_attempt_of_a_slot_finds_nothing_of_the_last(tmp_path: Path) -> None:
    spool = Spool(tmp_path, slots=2)
    (spool.begin(1) / Stream.COMPILE_OUTPUT).write_bytes(b"of another task")
    assert list(spool.begin(1).iterdir()) == []


def test_what_is_not_whole_is_removed(tmp_path: Path) -> None:
    Spool(tmp_path, slots=1)
    entries = tmp_path / "spool"
    (entries / f"{'b' * 24}.1").mkdir()
    (entries / f"{'b' * 24}.1" / Stream.EXECUTE_OUTPUT).write_bytes(b"no outcome was written")
    (entries / f"{'c' * 24}.1.msgpack").write_bytes(b"torn")
    (entries / f"{'d' * 24}.1.new").write_bytes(b"never renamed")
    assert Spool(tmp_path, slots=1).load() == {}
    assert list(entries.iterdir()) == []


@pytest.mark.parametrize("stream", [Stream.EXECUTE_OUTPUT, Bundle.ARTIFACTS])
@pytest.mark.parametrize("left", [None, b"", b"half"])
def test_an_entry_without_its_bytes_is_removed(
    tmp_path: Path, stream: Chunked, left: bytes | None
) -> None:
    """As a power cut leaves it: what was renamed is there, what was written before may not be."""
    spool = Spool(tmp_path, slots=1)
    content = b"x" * (INLINE_BYTES + 1)
    (spool.begin(0) / stream).write_bytes(content)
    file = ArtifactRef(
        name=b"a", size_bytes=len(content), sha256=b"", crc32=0, modified_s=315_532_800
    )
    artifacts = Artifacts(chunk_bytes=1, files=(file,)) if stream is Bundle.ARTIFACTS else None
    spool.commit(RUN, 0, msgspec.structs.replace(OUTCOME, artifacts=artifacts))
    path = spool.stream_path(RUN, stream)
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    assert Spool(tmp_path, slots=1).load() == {}
    assert list((tmp_path / "spool").iterdir()) == []
