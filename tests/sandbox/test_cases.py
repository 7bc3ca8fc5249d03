"""Cases and checkers in real boxes: what a case finds, and what a checker may do."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from khala.model.cases import Case, Check, CheckMode, Difference, Verdict
from khala.model.limits import MIB
from khala.model.outcome import Bundle, CacheUse, Ending, Outcome, Reason
from khala.model.spec import ArtifactRequest, Part, PartRef, TaskSpec
from tests.sandbox.harness import LIMITS, Runner
from tests.sandbox.test_compile_cache import Executor, archive

AC, WA, PE, RE, IE, SKIP = (
    Verdict.AC,
    Verdict.WA,
    Verdict.PE,
    Verdict.RE,
    Verdict.IE,
    Verdict.SKIP,
)


@pytest.fixture
def executor(runner: Runner, tmp_path: Path) -> Executor:
    return Executor(runner, tmp_path)


def task(
    execute: str,
    *cases: tuple[str, str],
    check: Check | None = Check(),  # noqa: B008
    **parts: bytes | str,
) -> TaskSpec:
    """Cases by input and expected output."""
    content = "".join(stdin + expected for stdin, expected in cases)
    given = {
        Part.EXECUTE_COMMAND: execute,
        Part.CASES: content,
        **{Part(name): data for name, data in parts.items()},
    }
    encoded = {
        part: data if isinstance(data, bytes) else data.encode() for part, data in given.items()
    }
    return TaskSpec(
        user=0,
        compile_timeout_s=10,
        execute_timeout_s=10,
        compile_limits=LIMITS,
        execute_limits=LIMITS,
        parts={
            part: PartRef(
                size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), inline=data
            )
            for part, data in encoded.items()
            if data
        },
        cases=tuple(
            Case(name=str(number), stdin_bytes=len(stdin), expect_bytes=len(expected), weight=2)
            for number, (stdin, expected) in enumerate(cases, 1)
        ),
        check=check,
    )


def verdicts(outcome: Outcome) -> list[Verdict | None]:
    return [each.judgement.verdict if each.judgement else None for each in outcome.cases]


def notes(outcome: Outcome) -> list[str]:
    return [(each.judgement.note if each.judgement else None) or "" for each in outcome.cases]


def outputs(executor: Executor, outcome: Outcome) -> list[bytes]:
    """stdout of each case."""
    bundle = (executor.folder / Bundle.CASES).read_bytes()
    found, at = [], 0
    for each in outcome.cases:
        if each.execute is not None:
            found.append(bundle[at : at + each.execute.stdout_bytes])
            at += each.kept_bytes
    assert at == len(bundle)
    return found


# ---- copies -------------------------------------------------------------------------------------

WRECK = """\
cat kept id; ls -A . data /tmp | sort | tr '\\n' ' '; ls -l run.sh | cut -c1-10
echo changed >kept; echo x >>id; rm -rf data; echo left >/tmp/left; mkdir -p deep/er; ln -s / root
mkfifo pipe; chmod 000 run.sh; chmod 500 .; (sleep 30 >/dev/null 2>&1 &)
"""


@pytest.mark.parametrize("cached", [False, True])
async def test_every_case_finds_what_the_compile_stage_left(
    executor: Executor, runner: Runner, cached: bool
) -> None:
    spec = task(
        WRECK,
        *[("", "")] * 3,
        check=None,
        compile_command="head -c 9 /dev/urandom | od -An -tx1 >id; echo of >kept; echo 1 >/tmp/made"
        "; echo true >run.sh; chmod 755 run.sh; ln kept same; ln -s kept link",
    )
    spec = replace(spec, cache=cached)
    outcome = await executor.run(spec)
    assert outcome.ending is Ending.SUCCEEDED, outcome
    first, second, third = outputs(executor, outcome)
    assert first == second == third
    assert first.startswith(b"of\n") and b"left" not in first and b"made" in first
    assert b"-rwxr-xr-x" in first
    again = await executor.run(spec)
    assert again.compile is not None
    assert again.compile.cache is (CacheUse.HIT if cached else CacheUse.OFF)
    found = set(outputs(executor, again))
    assert len(found) == 1 and (found == {first}) == cached
    await runner.quiet()


async def test_sources_alone_are_copied_too(executor: Executor) -> None:
    sources = archive(a_txt=b"A", b_txt=b"B")
    spec = task("cat *.txt -; rm *.txt", ("1", "AB1"), ("2", "AB2"), compile_source=sources)
    outcome = await executor.run(spec)
    assert verdicts(outcome) == [AC, AC] and outcome.compile is None
    assert outcome.score is not None and (outcome.score.got, outcome.score.of) == (4, 4)


async def test_a_case_has_no_file_of_its_input(executor: Executor) -> None:
    spec = task("cat; ls", ("in\n", "in\ncompile.sh\ndata\nexecute.sh\n"))
    assert verdicts(await executor.run(spec)) == [AC]


async def test_what_cannot_be_copied_ends_the_task(executor: Executor) -> None:
    outcome = await executor.run(task("true", ("", ""), compile_command="mkfifo pipe"))
    assert (outcome.ending, outcome.reason) == (Ending.ERROR, Reason.BAD_INPUT)
    assert outcome.note is not None and "pipes" in outcome.note
    assert outcome.judgement is None and outcome.cases == ()


async def test_the_first_case_that_did_not_end_well_is_the_task_s_end(executor: Executor) -> None:
    spec = task("bash", ("exit 0", ""), ("exit 4", ""), ("kill -9 $$", ""), ("echo x", ""))
    outcome = await executor.run(spec)
    assert (outcome.ending, outcome.reason) == (Ending.FAILED, Reason.EXIT_NONZERO)
    assert outcome.execute is not None and outcome.execute.exit_code == 4
    assert verdicts(outcome) == [AC, RE, RE, WA]
    assert outcome.judgement is not None and outcome.judgement.verdict is RE
    assert outcome.execute.wall_ms == sum(e.execute.wall_ms for e in outcome.cases if e.execute)


async def test_cancelling_ends_all_of_it(executor: Executor, runner: Runner) -> None:
    spec = task("cat; sleep 30", ("1", "1"), ("2", "2"))
    running = asyncio.ensure_future(executor.run(spec))
    while not (executor.folder / "case.out").exists():
        await asyncio.sleep(0.01)
    executor.cancel.set()
    outcome = await running
    assert outcome.reason is Reason.CANCELLED and outcome.cases == ()
    await runner.quiet()


# ---- checkers -----------------------------------------------------------------------------------


def checked(command: str, *outputs: str, **parts: bytes | str) -> TaskSpec:
    """A case for each output, with the input `in` and the answer `answer`."""
    spec = task(
        "cat",
        *[(output, "answer") for output in outputs],
        check=Check(mode=CheckMode.PROGRAM),
        check_command=command,
        **parts,
    )
    return replace(spec, check_limits=replace(LIMITS, wall_ms=2000))


TESTLIB = """\
read -r word <"$2"
echo "said $word about $(cat "$1") for $(cat "$3")" >&2
exit "${word#exit}"
"""


async def test_exit_codes_are_those_of_testlib(executor: Executor) -> None:
    spec = checked(
        "bash check.sh", "exit0", "exit1", "exit2", "exit3", "exit4", "exit8", "exit9", "exit77",
        check_source=archive(check_sh=TESTLIB.encode()),
    )  # fmt: skip
    outcome = await executor.run(spec)
    assert verdicts(outcome) == [AC, WA, PE, IE, PE, PE, IE, IE]
    said = notes(outcome)
    assert said[1] == "said exit1 about exit1 for answer"
    assert said[3] == "the checker failed: said exit3 about exit3 for answer"
    assert said[7] == "the checker's exit code 77 is no verdict"
    # What the checker thinks is no news of the program.
    assert (outcome.ending, outcome.reason) == (Ending.SUCCEEDED, Reason.OK)
    assert outcome.judgement is not None and outcome.judgement.verdict is IE
    assert outcome.score is not None and (outcome.score.got, outcome.score.of) == (2, 16)


async def test_parts_of_the_points(executor: Executor) -> None:
    spec = checked('cat "$2" >&2; exit 7 #', "points 0.5 near", "points 2", "points 0", "points 3",
                   "points x", "points -1", "")  # fmt: skip
    outcome = await executor.run(spec)
    assert verdicts(outcome) == [WA, AC, WA, IE, IE, IE, IE]
    assert outcome.score is not None and outcome.score.got == 2.5
    assert notes(outcome)[0] == "points 0.5 near"
    assert notes(outcome)[3] == "the checker gave 3 points of 2"


async def test_a_checker_is_compiled_once_and_kept(executor: Executor) -> None:
    source = b"""\
#include <fstream>
#include <string>
int main(int, char **argv) {
    std::string output, answer;
    std::ifstream(argv[2]) >> output; std::ifstream(argv[3]) >> answer;
    return output != answer;
}"""
    spec = checked(
        "./check", "answer", "other", check_compile="g++ -o check check.cpp",
        check_source=archive(check_cpp=source),
    )  # fmt: skip
    for _ in range(2):
        assert verdicts(await executor.run(spec)) == [AC, WA]
    assert (executor.cache.counts.hits, executor.cache.counts.misses) == (1, 1)
    assert len(list(executor.folder.parent.glob("check-*"))) == 0


async def test_a_checker_among_the_sources_is_as_it_was_given(executor: Executor) -> None:
    """The program it judges writes over it, to no avail."""
    sources = archive(check_sh=b'[ "$(cat "$2")" = right ]')
    spec = checked("bash check.sh", "right", "wrong", compile_source=sources)
    forge = "cat; echo exit 0 >check.sh; echo exit 0 >execute.sh"
    forged = {**spec.parts, Part.EXECUTE_COMMAND: task(forge).parts[Part.EXECUTE_COMMAND]}
    outcome = await executor.run(replace(spec, parts=forged))
    assert verdicts(outcome) == [AC, WA]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("sleep 60 #", "wall time"),
        ("kill -SEGV $$ #", "SIGSEGV"),
        ("exec head -c 1G /dev/zero | tail #", "the checker was ended"),
        ("while :; do head -c 1M /dev/zero; done #", "wall time"),
        ("printf '\\377\\000%0300d' 7 >&2; exit 3 #", "the checker failed"),
        ("./missing", "exit code 127"),
    ],
)
async def test_a_checker_that_is_none(
    executor: Executor, runner: Runner, command: str, why: str
) -> None:
    """It says nothing of the program, keeps nobody waiting and leaves nothing."""
    outcome = await executor.run(checked(command, "answer"))
    assert verdicts(outcome) == [IE]
    assert why in notes(outcome)[0]
    assert outcome.ending is Ending.SUCCEEDED
    assert all(len(note.encode()) <= 160 for note in notes(outcome))
    await runner.quiet()


async def test_a_checker_that_cannot_be_compiled(executor: Executor) -> None:
    spec = checked("./check", "answer", "other", check_compile="echo no such thing >&2; exit 1")
    outcome = await executor.run(spec)
    assert verdicts(outcome) == [IE, IE]
    assert notes(outcome) == ["the checker was not built: no such thing"] * 2


async def test_a_checker_keeps_nothing_from_case_to_case(executor: Executor) -> None:
    command = "[ ! -e seen ] && touch seen && [ ! -e /tmp/seen ] && touch /tmp/seen #"
    assert verdicts(await executor.run(checked(command, "a", "b"))) == [AC, AC]


async def test_a_single_output_may_have_a_checker(executor: Executor) -> None:
    spec = checked('[ "$(cat "$1" "$2" "$3")" = inoutanswer ] #')
    parts = task("printf out", execute_input="in", execute_standard="answer").parts
    outcome = await executor.run(replace(spec, cases=(), parts={**spec.parts, **parts}))
    assert outcome.judgement is not None and outcome.judgement.verdict is AC
    assert outcome.score is not None and (outcome.score.got, outcome.score.of) == (1, 1)


# ---- patterns -----------------------------------------------------------------------------------


async def test_patterns(executor: Executor) -> None:
    spec = task(
        "cat",
        ("answer: 42\n", r"answer: \d+"),
        ("answer: 42 or so\n", r"answer: \d+"),
        ("a\nb\n", "a\nb\n"),
        ("\xe4", "(?i)\xc4"),
        ("a", "(a"),
        ("a" * 40 + "b", "(a+)+"),
        check=Check(mode=CheckMode.REGEX),
    )
    # Sizes are of bytes.
    cases = list(spec.cases)
    cases[3] = replace(cases[3], stdin_bytes=2, expect_bytes=6)
    outcome = await executor.run(replace(spec, cases=tuple(cases)))
    assert verdicts(outcome) == [AC, WA, AC, AC, IE, IE]
    assert outcome.cases[1].judgement is not None
    assert outcome.cases[1].judgement.difference == Difference(
        line=1, expected=r"answer: \d+", actual="answer: 42 or so\n"
    )
    assert "unterminated" in notes(outcome)[4] and "no answer within" in notes(outcome)[5]


# ---- files -------------------------------------------------------------------------------------


async def test_what_every_case_left_is_kept_under_its_number(executor: Executor) -> None:
    spec = task(
        "mkdir -p out; read n; echo $n >out/n; [ $n = 2 ] && echo second >>kept; [ $n != 3 ]",
        *(("1", ""), ("2", ""), ("3", ""), ("4", "")),
        check=None,
        compile_command="echo of the compiler >kept; echo main >main",
    )
    asked = ArtifactRequest(globs=("out/**", "kept"), max_bytes=MIB, max_files=10)
    outcome = await executor.run(replace(spec, artifacts=asked))
    assert outcome.reason is Reason.EXIT_NONZERO
    assert outcome.artifacts is not None
    assert [file.name for file in outcome.artifacts.files] == [
        b"compile/kept",
        b"cases/1/out/n",
        b"cases/2/kept",
        b"cases/2/out/n",
        b"cases/3/out/n",
        b"cases/4/out/n",
    ]
    assert (executor.folder / Bundle.ARTIFACTS).read_bytes() == (
        b"of the compiler\n1\nof the compiler\nsecond\n2\n3\n4\n"
    )
    stopping = replace(spec, artifacts=asked, stop_on_first_failure=True)
    outcome = await executor.run(stopping)
    assert outcome.artifacts is not None
    assert [file.name for file in outcome.artifacts.files][-1] == b"cases/3/out/n"


async def test_what_a_compile_stage_left_that_failed_is_kept(executor: Executor) -> None:
    spec = task("true", ("", ""), compile_command="echo why >log; exit 1")
    asked = ArtifactRequest(globs=("log",), max_bytes=MIB, max_files=10)
    outcome = await executor.run(replace(spec, artifacts=asked))
    assert outcome.artifacts is not None
    assert [file.name for file in outcome.artifacts.files] == [b"compile/log"]
