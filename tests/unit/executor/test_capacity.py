"""What an executor offers: the host's, and what its operator says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from khala.model.errors import Rejected
from khala.model.limits import LABEL_VALUE_CHARS, LABELS, RESOURCES
from roles.executor.capacity import capacity_of, labels_of


def test_a_host_offers_what_it_has(tmp_path: Path) -> None:
    capacity = capacity_of((), tmp_path / "of the" / "first start")
    assert capacity["cpus"] == 1000 * len(os.sched_getaffinity(0))
    assert capacity["memory"] > 1 << 28
    assert 0 < capacity["disk"] <= shutil.disk_usage(tmp_path).total


def test_an_operator_may_offer_less_and_more(tmp_path: Path) -> None:
    capacity = capacity_of(("cpus=1.5", "memory=2GiB", "disk=1TiB", "gpu=2"), tmp_path)
    assert capacity == {"cpus": 1500, "memory": 2 << 30, "disk": 1 << 40, "gpu": 2}


def test_an_executor_has_labels_of_its_own() -> None:
    labels = labels_of("exec-07", ("zone=north", "arch=sparc"))
    assert labels == {"os": "linux", "executor": "exec-07", "zone": "north", "arch": "sparc"}


@pytest.mark.parametrize(
    "text",
    [
        "gpu",
        "=2",
        "gpu=",
        "gpu=two",
        "gpu=-1",
        "gpu=1.5",
        "a b=1",
        "memory=x",
        "disk=much",
        "cpus=-1",
    ],
)
def test_a_resource_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="--resource: "):
        capacity_of((text,), tmp_path)


@pytest.mark.parametrize("text", ["zone", "=x", "-a=1", "a=" + "x" * (LABEL_VALUE_CHARS + 1)])
def test_a_label_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match="--label: "):
        labels_of("e", (text,))


def test_there_are_bounds(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=f"more than {RESOURCES}"):
        capacity_of([f"r{n}=1" for n in range(RESOURCES)], tmp_path)
    with pytest.raises(Rejected, match=f"more than {LABELS}"):
        labels_of("e", [f"l{n}=1" for n in range(LABELS)])
