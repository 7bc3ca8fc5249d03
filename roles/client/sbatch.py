"""Scripts that were written for Slurm's `sbatch`, as they are.

Their `#SBATCH` lines become options of `run` and `submit`, and the variables that they read are set
from Khala's own. What has no meaning here is refused by its name: a script that asks for something
and does not get it would do something else, and nobody would know.
"""

from __future__ import annotations

import getopt
import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from khala.model.errors import Rejected
from roles.client.request import directives_of

PREFIX = "#SBATCH"
#: As `sbatch` spells them: short with a value, and long.
_SHORT = {
    "-J": "--job-name",
    "-a": "--array",
    "-t": "--time",
    "-c": "--cpus-per-task",
    "-d": "--dependency",
    "-o": "--output",
    "-e": "--error",
    "-D": "--chdir",
    "-n": "--ntasks",
    "-N": "--nodes",
    "-w": "--nodelist",
}
_MEMORY = re.compile(r"([1-9]\d*)([KMGT]?)B?\Z", re.IGNORECASE)
#: What scripts read, from what a task finds.
_VARIABLES = """\
export SLURM_JOB_ID="$KHALA_TASK_ID" SLURM_CPUS_PER_TASK="$KHALA_CPUS" \
SLURM_SUBMIT_DIR="$KHALA_WORKDIR"
[ -z "${KHALA_ARRAY_INDEX-}" ] || export SLURM_ARRAY_JOB_ID="$KHALA_JOB_ID" \
SLURM_ARRAY_TASK_ID="$KHALA_ARRAY_INDEX"
"""


class Translated(Struct, frozen=True, kw_only=True):
    """A script of Slurm's, for `run` and `submit`."""

    script: str
    options: list[str]
    #: What its writer should know, in sentences.
    notes: list[str]


def translate(script: str) -> Translated:
    """Raise `Rejected` naming what has no meaning here."""
    first = script.partition("\n")[0]
    if first.startswith("#!") and not re.search(r"\b(ba|da|)sh\b", first):
        raise Rejected(f"{PREFIX}: a script for sh or bash is expected, this one is for {first!r}")
    options: list[str] = []
    notes: list[str] = []
    for name, value in _read(directives_of(script, PREFIX)):
        found = _OPTIONS[name](value)
        if isinstance(found, str):
            notes.append(f"{PREFIX} {name}: {found}")
        else:
            options += found
    return Translated(script=_VARIABLES + script, options=options, notes=notes)


def _read(words: Sequence[str]) -> list[tuple[str, str]]:
    try:
        given, rest = getopt.getopt(
            list(words),
            "".join(f"{short[1]}:" for short in _SHORT),
            [f"{name[2:]}=" for name in _OPTIONS],
        )
    except getopt.GetoptError as error:
        raise Rejected(f"{PREFIX}: {error.msg}; understood are {', '.join(_OPTIONS)}") from error
    if rest:
        raise Rejected(f"{PREFIX}: {rest[0]!r} is no option; understood are {', '.join(_OPTIONS)}")
    return [(_SHORT.get(name, name), value) for name, value in given]


def _refusal(name: str, expected: str, given: str) -> Rejected:
    return Rejected(f"{PREFIX} {name}: {expected}, {given[:80]!r} was given", field=name)


def _same(option: str) -> Callable[[str], list[str]]:
    return lambda value: [option, value]


def _time(text: str) -> list[str]:
    """Minutes, minutes:seconds, hours:minutes:seconds, days-hours, and so on."""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if len(parts) > 3 or not all(part.isdecimal() for part in (*parts, *([days] if dash else []))):
        expected = "minutes, HH:MM:SS or DAYS-HH:MM:SS are expected"
        raise _refusal("--time", expected, text)
    numbers = [int(part) for part in parts]
    if dash:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, (*numbers, 0)[:2]
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise _refusal("--time", "every task has a limit; give one", text)
    return ["--time", f"{total}s"]


def _memory(text: str) -> list[str]:
    """What a task may use, and what is kept for it. Megabytes if there is no unit."""
    found = _MEMORY.match(text)
    if found is None:
        raise _refusal("--mem", "a size such as 512M or 4G is expected", text)
    size = f"{found[1]}{found[2].upper() or 'M'}iB"
    return ["--mem", size, "--resource", f"memory={size}"]


def _cpus(text: str) -> list[str]:
    return ["--cpus", _number("--cpus-per-task", text), "--resource", f"cpus={text}"]


def _gpus(text: str) -> list[str]:
    return ["--resource", f"gpu={_number('--gpus', text)}"]


def _gres(text: str) -> list[str]:
    kind, _, count = text.partition(":")
    if kind != "gpu":
        raise _refusal("--gres", "gpu:COUNT is expected", text)
    if ":" in count:
        raise _refusal("--gres", "types of GPUs are labels here: gpu:COUNT and --require", text)
    return ["--resource", f"gpu={_number('--gres', count or '1')}"]


def _number(name: str, text: str) -> str:
    if not text.isdecimal() or not int(text):
        raise _refusal(name, "a number from 1 on is expected", text)
    return text


def _one(name: str, what: str) -> Callable[[str], list[str]]:
    def check(text: str) -> list[str]:
        if text != "1":
            raise _refusal(name, f"a task is one {what}, and an array is many tasks; 1", text)
        return []

    return check


def _after(text: str) -> list[str]:
    options: list[str] = []
    for each in text.split(","):
        kind, *tasks = each.split(":")
        if kind not in ("afterok", "afterany") or not all(tasks) or not tasks:
            expected = "afterok:ID or afterany:ID is expected, several with commas"
            raise _refusal("--dependency", expected, text)
        on = ":any" if kind == "afterany" else ""
        for task in tasks:
            options += ["--after", f"{task}{on}"]
    return options


def _export(text: str) -> list[str] | str:
    if text == "ALL":
        return "a task has none of this shell's variables; name those that it needs"
    options: list[str] = []
    for each in text.split(","):
        if each in ("ALL", "NONE"):
            continue
        if "=" not in each:
            raise _refusal("--export", "NAME=VALUE is expected, several with commas", text)
        options += ["--env", each]
    return options


def _kept(_: str) -> str:
    return "what it writes is kept by Khala; khala.pex logs shows it, while it runs and later"


_OPTIONS: dict[str, Callable[[str], list[str] | str]] = {
    "--job-name": _same("--name"),
    "--array": _same("--array"),
    "--time": _time,
    "--mem": _memory,
    "--cpus-per-task": _cpus,
    "--gpus": _gpus,
    "--gres": _gres,
    "--dependency": _after,
    "--output": _kept,
    "--error": _kept,
    "--export": _export,
    "--chdir": _same("--source"),
    "--partition": lambda value: ["--require", f"partition={value}"],
    "--nodelist": _same("--node"),
    "--ntasks": _one("--ntasks", "process to start"),
    "--nodes": _one("--nodes", "node's work"),
}
