"""Sessions at a terminal, as somebody types them who has used such systems before: one program that
is judged, an array whose failed tasks run again, a task that waits for what nobody has, and
documents in files.

Each `$` line is given to bash as it stands; what follows is what it prints, stderr included, with
`...` for what differs from run to run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

#: `khala` of the sessions; this account's history and contexts are the test's own.
SHELL = f'khala() {{ "{sys.executable}" -m khala "$@"; }}'
ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
$ khala preset put cpp20-gcc -f cpp20-gcc.json --description 'C++20, GCC'
cpp20-gcc
$ judged='--stdin in.txt --expect out.txt --time 5s --mem 256M'
$ khala run --preset cpp20-gcc --source main.cpp $judged
a line
41
... queued → ... (... s)
compile   ok  ...  (cache miss)
run       exit 0  ...  ...iB
verdict   WA...: line 2: expected "42", got "41"  khala diff ...
$ echo $?
1
$ khala diff last
--- expected
+++ stdout
@@ -1,2 +1,2 @@
 a line
-42
+41
khala: the first difference: line 2: expected "42", got "41"
$ khala describe last | sed -n '/Ended/,$p'
Ended     succeeded
$ khala run --time 1s -- sleep 30
khala: ... failed (wall_time): killed after ... s of wall time (limit 1.00 s)
$ khala describe last | sed -n '/Ended/,$p'
Ended     failed · wall_time: killed after ... s of wall time (limit 1.00 s) (...), in execute
"""

ARRAY = """
$ id=$(khala submit --parsable --array 1-6%3 --cpus 1 --time 5m --max-fails 20 -- ./sim.sh)
$ khala progress $id
...[####################] 6/6  failed 3
$ khala job tasks $id --state failed -o name | wc -l
3
$ khala get $id:2-6:2 -o name
...000002
...000004
...000006
$ khala get ${id:0:18}000002 -o name
...000002
$ khala logs $id:3
3
$ again=$(khala job retry $id --only failed)
khala: 3 tasks queued again, as job ...
$ test "$(khala job retry $id --only failed 2>/dev/null)" = "$again"
$ khala job retry $id --only failed >/dev/null
khala: nothing was queued: 3 tasks had been queued again before, as job ...
$ khala progress $again 2>/dev/null
$ khala job get $again -o jsonl | grep -o '"array":"[^"]*"'
"array":"2,4,6"
$ khala job retry ${again:0:16} --only cancelled
khala: job ...: no task of it is cancelled
$ khala ls --filter job=$id,state=failed -o name | wc -l
3
$ khala get $id:7
khala: '...:7': job ... has no task 7; its indexes are 1-6
"""

WAITING = """
$ khala submit --label kind=stuck --resource gpu=1 -- true
...
$ khala explain last
... queued for ...: no online executor can run it, however long it waits: of 1, 1 has not gpu 1
  1 node    too_small: has not gpu 1 (...)
  place ... in the queue
  would run if ... has gpu 1, or less is asked for
$ khala submit --label kind=stuck --require zone=north -- true
...
$ khala cancel --filter state=queued,label=kind:stuck
khala: --filter: 2 tasks would be cancelled; say --yes
$ khala cancel --filter state=queued,label=kind:stuck --yes
2 cancelled
$ khala cancel --filter state=queued,label=kind:stuck --yes
khala: no task that has not ended matches
$ khala cancel --filter colour=red --yes
khala: --filter: NAME=VALUE is expected, 'colour=red' was given; the names are ...
"""

DOCUMENTS = """
$ khala apply -f job.toml
... created
$ khala apply -f job.toml
... unchanged
$ test $(khala apply -f job.toml | cut -c1-24) = $(khala ls --filter name=nightly -o name)
$ sed -i s/nightly-ran/changed/ job.toml; khala apply -f job.toml
khala: key: already used with another ...
$ khala wait last; khala logs last
nightly-ran
$ khala apply -f both.json
... created
... created
$ khala batch -f list.jsonl
...
...
khala: list.jsonl:3: /stages/execute/limits/memory: ...
$ khala wait last last~1; khala logs last
two
$ khala batch -f broken.jsonl
khala: broken.jsonl:2: no document in JSON: ...
khala: broken.jsonl:4: no document in JSON: an object is needed
khala: -f: 2 lines of broken.jsonl are no document in JSON, and nothing was submitted; ...
"""

FILES = {
    "main.cpp": "#include <iostream>\nint main() { int a, b; std::cin >> a >> b;\n"
    'std::cout << "a line\\n" << a + b << "\\n"; }\n',
    "cpp20-gcc.json": '{"stages": {"compile": {"command": "g++ -std=c++20 -O2 -o main main.cpp"},'
    ' "execute": {"command": "./main"}}}',
    "in.txt": "20 21\n",
    "out.txt": "a line\n42\n",
    # Fails for even indexes, until it is somebody's second job.
    "sim.sh": "#!/bin/bash\necho $KHALA_ARRAY_INDEX\nexit $((1 - KHALA_ARRAY_INDEX % 2))\n",
    "job.toml": 'name = "nightly"\n[stages.execute]\ncommand = "echo nightly-ran"\n',
    "both.json": '[{"name": "first", "stages": {"execute": {"command": "true"}}},'
    ' {"name": "grid", "array": "0-2", "task": {"stages": {"execute": {"command": "true"}}}}]',
    "broken.jsonl": '{"name": "never"}\nnever\n\n[]\n',
    "list.jsonl": '{"stages": {"execute": {"command": "echo one"}}}\n'
    '{"stages": {"execute": {"command": "echo two"}}}\n'
    '{"stages": {"execute": {"command": "true", "limits": {"memory": 1}}}}\n',
}


def steps(session: str) -> list[tuple[str, str]]:
    found = re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    return [(command, answer) for command, _, answer in (each.partition("\n") for each in found)]


def pattern(answer: str) -> str:
    return re.sub(r"\\\.\\\.\\\.", ".*", re.escape(answer))


@pytest.mark.parametrize(
    "session",
    [PROGRAM, ARRAY, WAITING, DOCUMENTS],
    ids=["program", "array", "waiting", "documents"],
)
@pytest.mark.timeout(300)
def test_a_session_runs_as_it_is_written(stack: str, tmp_path: Path, session: str) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "sim.sh").chmod(0o755)
    environment = {
        **os.environ,
        "KHALA_URL": stack,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PYTHONPATH": str(ROOT),
    }
    script = "exec 2>&1\n" + SHELL + "\n"
    for number, (command, _) in enumerate(steps(session)):
        script += f"echo '~{number}~'\n(exit ${{code:-0}})\n{command}\ncode=$?\n"
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    printed = re.split(r"^~\d+~\n", done.stdout, flags=re.MULTILINE)[1:]
    assert len(printed) == len(steps(session)), done.stdout
    for (command, answer), real in zip(steps(session), printed, strict=True):
        assert re.fullmatch(pattern(answer), real, re.DOTALL), (
            f"$ {command}\n{real}\nwas not\n{answer}"
        )
