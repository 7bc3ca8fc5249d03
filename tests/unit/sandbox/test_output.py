"""What is kept of an output, whatever its length and in whichever pieces it comes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.output import Output, head_bytes


def pour(folder: Path, pieces: list[bytes], limit: int) -> tuple[bytes, Output]:
    """What is kept of `pieces`, written one after the other."""
    output = Output(os.getuid())
    try:
        output.open(str(folder / "out"), limit)
        for piece in pieces:
            os.write(output.write_fd, piece)
            assert output.take() == len(piece) or not piece
        output.close_write_end()
        assert output.take() == 0
        output.settle()
    finally:
        output.close()
    return (folder / "out").read_bytes(), output


def expected(written: bytes, limit: int) -> bytes:
    if len(written) <= limit:
        return written
    head = head_bytes(limit)
    return written[:head] + written[len(written) - (limit - head) :]


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(1, 60))
def test_the_beginning_and_the_end_are_kept(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], limit: int
) -> None:
    written = b"".join(pieces)
    kept, output = pour(tmp_path_factory.mktemp("output"), pieces, limit)
    assert kept == expected(written, limit)
    assert (output.seen_bytes, output.kept_bytes) == (len(written), len(kept))
    assert output.over_limit == (len(written) > limit)


def test_a_long_output_in_large_pieces(tmp_path: Path) -> None:
    pieces = [bytes([65 + n % 26]) * (50_000 + n) for n in range(40)]
    kept, _ = pour(tmp_path, pieces, 300_001)
    assert kept == expected(b"".join(pieces), 300_001)


def test_a_flood_takes_no_more_disk_than_its_limit(tmp_path: Path) -> None:
    output = Output(os.getuid())
    output.open(str(tmp_path / "out"), 10_000)
    for _ in range(50):
        os.write(output.write_fd, b"x" * 60_000)
        output.take()
        assert os.stat(tmp_path / "out").st_size <= 10_000
    output.close()


def test_one_take_is_one_slice(tmp_path: Path) -> None:
    """However much waits in the pipe: the loop serves others in between."""
    output = Output(os.getuid())
    output.open(str(tmp_path / "out"), 1)
    os.write(output.write_fd, b"x" * 65536)
    assert output.take() == 65536
    assert output.take() is None
    output.close()
