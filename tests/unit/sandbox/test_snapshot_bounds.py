"""A snapshot's list of files is held in memory: its names are bounded, however many there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from khala.model.limits import CACHE_NAMES_BYTES, MIB
from sandbox.snapshot import Snapshot, capture


def captured(top: Path, sink: Path) -> Snapshot | None:
    top_fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    sink_fd = os.open(sink, os.O_WRONLY | os.O_CREAT)
    try:
        return capture([top_fd], sink_fd, frozenset(), MIB)
    finally:
        os.close(top_fd)
        os.close(sink_fd)


def make_name(folder: Path, number: int) -> None:
    (folder / str(number)).symlink_to("t")


def make_target(folder: Path, number: int) -> None:
    (folder.parents[12] / str(number)).symlink_to("t" * 13 * 250)


def make_link(folder: Path, number: int) -> None:
    """Each is listed with its first name, which is the long one: folders begin with a digit."""
    first = folder / "file"
    first.touch()
    (folder.parents[12] / f"a{number}").hardlink_to(first)


@pytest.mark.parametrize("make", [make_name, make_target, make_link])
def test_names_without_end_are_not_captured(
    tmp_path: Path, make: Callable[[Path, int], None]
) -> None:
    top = tmp_path / "top"
    folder = top.joinpath(*(["0" * 250] * 13))
    folder.mkdir(parents=True)
    most = CACHE_NAMES_BYTES // (13 * 250)
    for number in range(most // 2):
        make(folder, number)
    assert captured(top, tmp_path / "sink") is not None
    for number in range(most // 2, most + 1):
        make(folder, number)
    assert captured(top, tmp_path / "sink") is None
