"""What this host has to give to tasks, and its labels: as measured, or as its operator says."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from khala.config.values import kind_of_resource, parse
from khala.model.errors import Rejected
from khala.model.limits import (
    AMOUNT_MAX,
    LABEL_KEY_CHARS,
    LABEL_VALUE_CHARS,
    LABELS,
    RESOURCES,
)
from khala.model.wants import CPU_STEPS, CPUS, DISK, MEMORY, Amounts, Labels

_FLAG, _LABEL = "--resource", "--label"
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._/-]{{0,{LABEL_KEY_CHARS - 1}}}\Z")


def capacity_of(given: Sequence[str], data_dir: Path) -> Amounts:
    """The processors and the memory of this host and what is free of the disk below `data_dir`, and
    NAME=AMOUNT on top or instead. Raise `Rejected`."""
    found: Amounts = {
        CPUS: len(os.sched_getaffinity(0)) * CPU_STEPS,
        MEMORY: _memory_bytes(),
        DISK: min(AMOUNT_MAX, _free_bytes(data_dir)),
    }
    for text in given:
        name, value = _pair(text, _FLAG, "gpu=2")
        found[name] = _amount(name, value)
    if len(found) > RESOURCES:
        raise Rejected(f"{_FLAG}: {len(found)} resources are more than {RESOURCES}", field=_FLAG)
    return found


def labels_of(name: str, given: Sequence[str]) -> Labels:
    """`arch`, `os` and `executor` (its name), and KEY=VALUE on top or instead. Raise `Rejected`."""
    labels = {"arch": platform.machine(), "os": platform.system().lower(), "executor": name}
    for text in given:
        key, value = _pair(text, _LABEL, "zone=north")
        if len(value) > LABEL_VALUE_CHARS or not value.isprintable():
            raise Rejected(
                f"{_LABEL}: a value is up to {LABEL_VALUE_CHARS} printable characters,"
                f" {value[:40]!r} was given",
                field=_LABEL,
            )
        labels[key] = value
    if len(labels) > LABELS:
        raise Rejected(f"{_LABEL}: {len(labels)} labels are more than {LABELS}", field=_LABEL)
    return labels


def _pair(text: str, flag: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not _NAME.match(name):
        raise Rejected(
            f"{flag}: NAME=VALUE is expected, such as {example}, with a name of 1 to"
            f" {LABEL_KEY_CHARS} letters, digits, '.', '_', '-' and '/'; {text[:60]!r} was given",
            field=flag,
        )
    return name, value


def _amount(name: str, value: str) -> int:
    kind = kind_of_resource(name)
    try:
        amount = float(str(parse(kind, value)))
    except ValueError as error:
        raise Rejected(f"{_FLAG}: {name}: {error}", field=_FLAG) from error
    whole = round(amount * (CPU_STEPS if name == CPUS else 1))
    if not 0 <= whole <= AMOUNT_MAX:
        raise Rejected(f"{_FLAG}: {name}: 0 to {AMOUNT_MAX}, {value[:40]} was given", field=_FLAG)
    return whole


def _free_bytes(folder: Path) -> int:
    """Of the file system that it is on, or will be: a first start makes it later."""
    there = next(each for each in (folder, *folder.resolve().parents) if each.exists())
    return shutil.disk_usage(there).free


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
