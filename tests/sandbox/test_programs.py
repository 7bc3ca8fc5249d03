"""Programs that mean no harm, run as users will run them."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from khala.model.limits import MIB
from khala.model.outcome import Reason
from khala.model.spec import Stage
from tests.sandbox.harness import Runner

_HELLO = b"""
#include <iostream>
#include <thread>
#include <vector>
int main() {
  int n; std::cin >> n;
  std::vector<std::thread> all;
  for (int i = 0; i < n; i++) all.emplace_back([] {});
  for (auto &one : all) one.join();
  std::cout << "Hello, " << n << std::endl;
}
"""


async def test_a_cpp_task(runner: Runner, tmp_path: Path) -> None:
    """The shape of KV2's tasks: sources as zip, compile.sh, execute.sh < execute.in, data/."""
    with zipfile.ZipFile(tmp_path / "source.zip", "w") as archive:
        archive.writestr("src/main.cpp", _HELLO)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("case/1.txt", "data")
    async with runner.sandbox.box(0) as box:
        await box.unpack(tmp_path / "source.zip", "")
        await box.unpack(tmp_path / "data.zip", "data")
        await box.put("compile.sh", b"g++ -O1 -pthread -o main src/main.cpp && find . | sort")
        await box.put("execute.in", b"5\n")
        await box.put("execute.sh", b"./main; cat data/case/1.txt")
        job = runner.job(
            "g++ -O1 -pthread -o main src/main.cpp && find . | sort", stage=Stage.COMPILE
        )
        compiled = await runner.finish(box, job)
        assert compiled.outcome.reason is Reason.OK, compiled.stderr
        assert compiled.text.split() == [
            ".",
            "./compile.sh",
            "./data",
            "./data/case",
            "./data/case/1.txt",
            "./execute.in",
            "./execute.sh",
            "./main",
            "./src",
            "./src/main.cpp",
        ]
        ran = await runner.finish(box, runner.job("./main; cat data/case/1.txt", stdin=b"5\n"))
    assert ran.stdout == b"Hello, 5\ndata"
    assert ran.outcome.reason is Reason.OK


async def test_python(runner: Runner) -> None:
    program = (
        "import multiprocessing as m, socket, tempfile, sqlite3, json\n"
        "if __name__ == '__main__':\n"
        "    with m.Pool(2) as pool: print(sum(pool.map(abs, range(-10, 0))))\n"
        "    print(sqlite3.connect('x.db').execute('select 1').fetchone()[0])\n"
        "    print(tempfile.mkdtemp().startswith('/tmp/'))\n"
    )
    async with runner.sandbox.box(0) as box:
        await box.put("main.py", program.encode())
        ran = await runner.finish(box, runner.job("python3 main.py"))
    assert ran.stdout == b"55\n1\nTrue\n", ran.stderr


@pytest.mark.parametrize(
    ("command", "stdin", "stdout"),
    [
        pytest.param(
            "node -e 'console.log(require(\"fs\").readFileSync(\"/dev/stdin\", \"utf8\").length)'",
            b"12345",
            b"5\n",
            id="node reads /dev/stdin",
        ),
        pytest.param("cat /dev/stdin /dev/stdin", b"abc", b"abcabc", id="shell reads it twice"),
        pytest.param("cat; cat", b"abc", b"abc", id="cat"),
        pytest.param("cat", None, b"", id="no stdin"),
        pytest.param("echo a > /dev/stdout; echo b >> /dev/fd/1", None, b"a\nb\n", id="stdout"),
        pytest.param("perl -e 'print 6 * 7'", None, b"42", id="perl"),
        pytest.param("echo $0 ${#}", None, b"execute.sh 0\n", id="its own name"),
        pytest.param("cd \"$(dirname $0)\" && pwd", None, b"/box/source\n", id="its folder"),
        pytest.param("ls -l /dev/null | cut -c1", None, b"c\n", id="devices"),
        pytest.param("sort -u <(echo b; echo a)", None, b"a\nb\n", id="process substitution"),
    ],
)  # fmt: skip
async def test_input_and_output(
    runner: Runner, command: str, stdin: bytes | None, stdout: bytes
) -> None:
    ran = await runner.run(command, stdin=stdin)
    assert ran.stdout == stdout, ran.stderr
    assert ran.stderr == b""
    assert ran.outcome.reason is Reason.OK


async def test_java(runner: Runner) -> None:
    source = b"class Main { public static void main(String[] a) { System.out.println(1 + 1); } }"
    async with runner.sandbox.box(0) as box:
        await box.put("Main.java", source)
        ran = await runner.finish(box, runner.job("javac Main.java && java -Xmx64m Main"))
    assert ran.stdout == b"2\n", ran.stderr


async def test_five_megabytes_through_both_ends(runner: Runner) -> None:
    given = hashlib.shake_256(b"x").digest(5 * MIB)
    ran = await runner.run("tee /dev/stderr", stdin=given, output_bytes=5 * MIB)
    assert ran.outcome.reason is Reason.OK
    assert ran.stdout == given and ran.stderr == given


async def test_a_program_that_ignores_its_input(runner: Runner) -> None:
    ran = await runner.run("exec <&-; echo done", stdin=bytes(2 * MIB))
    assert ran.stdout == b"done\n"


async def test_a_command_of_any_bytes_and_length(runner: Runner) -> None:
    command = b"echo '-n \xff\"$HOME'\n" + b"# " + b"x" * 300_000 + b"\necho \xc3\xbc"
    ran = await runner.run(command)
    assert ran.stdout == b'-n \xff"$HOME\n\xc3\xbc\n'


async def test_errors_are_reported_as_bash_does(runner: Runner) -> None:
    ran = await runner.run("echo a\nno-such-program")
    assert ran.stderr == b"execute.sh: line 2: no-such-program: command not found\n"


async def test_a_crash_of_a_program_is_told_by_bash(runner: Runner) -> None:
    ran = await runner.run("perl -e 'kill SEGV => $$'\n:")
    assert ran.outcome.reason is Reason.OK
    assert b"Segmentation fault" in ran.stderr


async def test_a_loop_of_stages_in_one_box(runner: Runner) -> None:
    async with runner.sandbox.box(1) as box:
        for number in range(5):
            job = runner.job(f"echo {number} >> log; wc -l < log")
            assert (await runner.finish(box, job)).text.strip() == str(number + 1)
