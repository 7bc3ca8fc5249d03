"""The tasks of a soak: what each kind does, and how it may end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: The attempt was lost with its executor so often that the task was given up.
GIVEN_UP = "executor_lost_repeatedly"
_C = "int main(void) { return %s; }"


@dataclass(frozen=True, kw_only=True)
class Kind:
    name: str
    execute: str
    reasons: tuple[str, ...]
    compile: str = ""
    limits: dict[str, object] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    #: How often, relative to the others.
    weight: int = 2

    def document(self) -> dict[str, Any]:
        """The body of `POST /api/v2/tasks`."""
        limits = {"wall_s": 20, "memory": "64MiB", "output": "64KiB", **self.limits}
        stages: dict[str, Any] = {"execute": {"command": self.execute, "limits": limits}}
        if self.compile:
            stages["compile"] = {
                "command": self.compile,
                "limits": {"wall_s": 30, "memory": "256MiB"},
            }
        return {"stages": stages, **self.more}


def _source(text: str) -> dict[str, Any]:
    return {"sources": [{"path": "main.c", "text": text}]}


_BURN = "while :; do :; done"
_TIME = ("wall_time", "cpu_time")
KINDS = (
    Kind(name="success", execute="echo $KHALA_TASK_ID $KHALA_ATTEMPT", reasons=("ok",), weight=40),
    Kind(name="environment", execute="env | grep -E 'PEX|SECRET|TOKEN|PYTHON' || env | grep -c ^KHALA_", reasons=("ok",)),
    Kind(name="input", execute="cat; cat /dev/stdin", reasons=("ok",), more={"stdin": {"text": "given"}}),
    Kind(name="compiled", compile="gcc -o main main.c", execute="./main", reasons=("ok",), more=_source(_C % 0), weight=6),
    Kind(name="compiled afresh", compile="gcc -o main main.c", execute="./main", reasons=("ok",), more={**_source(_C % 0), "cache": "off"}),
    Kind(name="compile error", compile="gcc -o main main.c", execute="./main", reasons=("exit_nonzero",), more=_source(_C % "x"), weight=4),
    Kind(name="exit", execute="exit 3", reasons=("exit_nonzero",), weight=6),
    Kind(name="crash", execute="kill -SEGV $$", reasons=("signal",)),
    Kind(name="wall time", execute="sleep 60", reasons=("wall_time",), limits={"wall_s": 0.3}),
    Kind(name="deaf", execute="trap '' TERM INT HUP; sleep 60", reasons=("wall_time",), limits={"wall_s": 0.2}),
    Kind(name="processor time", execute=_BURN, reasons=_TIME, limits={"cpu_s": 0.1, "wall_s": 5}),
    Kind(name="memory", execute="x=$(tr '\\0' x </dev/zero)", reasons=("memory",), limits={"memory": "16MiB"}),
    Kind(name="files as memory", execute="head -c 40M /dev/zero > /dev/shm/x; sleep 20", reasons=("memory",), limits={"memory": "16MiB"}),
    Kind(name="fork bomb", execute=":(){ :|:& }; :; " + _BURN, reasons=(*_TIME, "process_limit"), limits={"wall_s": 0.4}),
    Kind(name="threads and zombies", execute="perl -e 'while (1) { $p = fork; exit if defined $p and $p == 0 }'", reasons=(*_TIME, "process_limit"), limits={"wall_s": 0.4}),
    Kind(name="flood", execute="yes", reasons=("output_limit",)),
    Kind(name="flood of stderr", execute="cat /dev/zero >&2", reasons=("output_limit",)),
    Kind(name="full disk", execute="cat /dev/zero > /tmp/f", reasons=("disk",), limits={"memory": "256MiB"}),
    Kind(name="full of files", execute="seq 20000 | xargs touch 2>/dev/null", reasons=("disk",), limits={"memory": "256MiB"}),
    Kind(name="large file", execute="head -c 9999999 /dev/zero > f", reasons=("file_size",), limits={"file_size": 51200}),
    Kind(name="daemons", execute="for i in 1 2 3; do (setsid sleep 90 &); done; echo left", reasons=("ok",), weight=4),
    Kind(name="stopped", execute="sleep 60 & kill -STOP $!; kill -STOP $$", reasons=("wall_time",), limits={"wall_s": 0.2}),
    Kind(
        name="links as outputs",
        execute="mkdir out; ln -s /etc/passwd out/a; ln -s / out/b; mkfifo out/c; echo x > out/d; ln out/d out/e",
        reasons=("ok",),
        more={"artifacts": {"collect": ["out/**"], "max_total": "1MiB", "max_files": 10}},
        weight=4,
    ),
    Kind(name="traps for the service", compile="ln -sf /etc/passwd execute.sh; rm -rf data; ln -s / data", execute="echo right", reasons=("ok",)),
    Kind(name="objects of System V", execute="ipcmk -Q -M 4096 -S 2; exit 0", reasons=("ok",)),
    Kind(
        name="not an archive",
        execute="echo never",
        reasons=("bad_input",),
        more={"sources": [{"unpack": "zip", "text": "this is not a zip"}]},
    ),
)  # fmt: skip
