"""Patterns of artifacts: what they match, what is refused, and that none is slow."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khala.model.errors import Rejected
from khala.model.globs import Globs, check_artifacts
from khala.model.ids import AttemptNo, SessionNo, TaskId
from khala.model.limits import (
    ARTIFACT_BYTES,
    ARTIFACT_FILES,
    ARTIFACT_GLOBS,
    ARTIFACT_NAMES_BYTES,
    FRAME_BYTES,
    GLOB_CHARS,
    INLINE_BYTES,
    MIB,
    OUTPUT_CHUNK_BYTES,
)
from khala.model.outcome import (
    ArtifactRef,
    Artifacts,
    Ending,
    LeftOut,
    Omission,
    Outcome,
    Reason,
    Stream,
    StreamRef,
)
from khala.model.spec import ArtifactRequest
from khala.protocol.executor import Finished


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("main", b"main", True),
        ("main", b"src/main", False),
        ("*.log", b"a.log", True),
        ("*.log", b".log", True),
        ("*.log", b"logs/a.log", False),
        ("*", b".hidden", True),
        ("*/*.log", b"logs/a.log", True),
        ("?.txt", "ä.txt".encode(), True),
        ("?.txt", b"\xff.txt", True),
        ("?.txt", b"ab.txt", False),
        ("[ab].txt", b"b.txt", True),
        ("[!ab].txt", b"b.txt", False),
        ("[!ab].txt", b"c.txt", True),
        ("[a-c]x", b"bx", True),
        ("[]]x", b"]x", True),
        ("[a-]x", b"-x", True),
        ("[^a]x", b"^x", True),
        ("[[]x", b"[x", True),
        ("[*]", b"*", True),
        ("[*]", b"a", False),
        ("a\\b", b"a\\b", True),
        ("*", b"two\nlines", True),
        ("out/**", b"out/a", True),
        ("out/**", b"out/a/b/c", True),
        ("out/**", b"out", False),
        ("**", b"a/b", True),
        ("**/*.txt", b"a.txt", True),
        ("**/*.txt", b"a/b/c.txt", True),
        ("**/*.txt", b"a/b/c.bin", False),
        ("a/**/z", b"a/z", True),
        ("a/**/z", b"a/b/c/z", True),
        ("a/**/b/**/z", b"a/x/b/y/b/z", True),
        ("a/**/b/**/z", b"a/x/y/z", False),
        ("a*b*c", b"aXbYbZc", True),
        ("a*b*c", b"aXbYbZ", False),
        ("*ab", b"aab", True),
        ("*a*a", b"a", False),
    ],
)
def test_what_a_pattern_matches(pattern: str, name: bytes, matches: bool) -> None:
    assert Globs([pattern]).match(name) is matches


@given(
    st.text(alphabet="ab*?", min_size=1, max_size=12).filter(lambda text: "**" not in text),
    st.text(alphabet="abc", min_size=1, max_size=12),
)
def test_within_a_folder_it_is_what_shells_do(pattern: str, name: str) -> None:
    assert Globs([pattern]).match(name.encode()) is fnmatchcase(name, pattern)


@given(
    st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6),
)
def test_across_folders_it_is_any_way_to_match(pattern: list[str], parts: list[str]) -> None:
    def possible(left: list[str], over: list[str]) -> bool:
        if not left:
            return not over
        if left[0] != "**":
            fits = bool(over) and left[0] in ("*", over[0])
            return fits and possible(left[1:], over[1:])
        rest = left[1:] or ["*"]
        return any(possible(rest, over[n:]) for n in range(len(over) + 1))

    name = "/".join(parts).encode()
    assert Globs(["/".join(pattern)]).match(name) is possible(pattern, parts)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*a" * 100 + "*b", b"a" * 255),
        ("**/" * 60 + "x", b"/".join([b"a"] * 60)),
        ("**/*a*a*a/" * 20 + "x", b"/".join([b"a" * 200] * 60)),
    ],
    ids=["stars", "folders", "both"],
)
@pytest.mark.timeout(10)
def test_no_pattern_takes_long(pattern: str, name: bytes) -> None:
    assert not Globs([pattern]).match(name)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "empty part"),
        ("/etc/passwd", "absolute"),
        ("../x", "'..'"),
        ("a/../b", "'..'"),
        ("./a", "'.'"),
        ("out/", "write folder/**"),
        ("a//b", "empty part"),
        ("a**", "stands alone"),
        ("a\0", "NUL"),
        ("[ab", "without ']'"),
        ("[]", "without ']'"),
        ("[z-a]", "not readable"),
        ("\ud800", "Unicode"),
        ("x" * (GLOB_CHARS + 1), f"limit {GLOB_CHARS}"),
    ],
)
def test_what_is_refused_is_named(pattern: str, why: str) -> None:
    with pytest.raises(Rejected, match=re.escape(why)) as refused:
        check_artifacts(ArtifactRequest(globs=(pattern,), max_bytes=1, max_files=1))
    assert refused.value.field == "artifacts/globs"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ArtifactRequest(globs=(), max_bytes=1, max_files=1), "globs"),
        (ArtifactRequest(globs=("*",) * (ARTIFACT_GLOBS + 1), max_bytes=1, max_files=1), "globs"),
        (ArtifactRequest(globs=("*",), max_bytes=0, max_files=1), "max_bytes"),
        (ArtifactRequest(globs=("*",), max_bytes=ARTIFACT_BYTES + 1, max_files=1), "max_bytes"),
        (ArtifactRequest(globs=("*",), max_bytes=1, max_files=ARTIFACT_FILES + 1), "max_files"),
    ],
)
def test_bounds_of_a_request(request_: ArtifactRequest, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        check_artifacts(request_)
    assert refused.value.field == f"artifacts/{field}"


def test_the_longest_list_fits_into_a_frame_and_a_zip() -> None:
    name = b"n" * (ARTIFACT_NAMES_BYTES // ARTIFACT_FILES)
    file = ArtifactRef(
        name=name,
        size_bytes=2**40,
        sha256=b"s" * 32,
        crc32=2**32 - 1,
        modified_s=2**32,
        executable=True,
    )
    left_out = {why: LeftOut(count=2**31, names=(b"n" * 200,) * 3) for why in Omission}
    outcome = Outcome(
        ending=Ending.FAILED,
        reason=Reason.EXIT_NONZERO,
        streams={Stream.EXECUTE_OUTPUT: StreamRef(size_bytes=1, inline=b"x" * INLINE_BYTES)},
        artifacts=Artifacts(
            chunk_bytes=OUTPUT_CHUNK_BYTES, files=(file,) * ARTIFACT_FILES, left_out=left_out
        ),
        note="n" * 1000,
    )
    message = Finished(session=SessionNo(1), run=(TaskId("0" * 24), AttemptNo(1)), outcome=outcome)
    assert len(msgspec.msgpack.encode([message])) < FRAME_BYTES - 16 * 1024
    # No zip64 is ever needed.
    assert ARTIFACT_FILES < 2**16
    assert ARTIFACT_BYTES + ARTIFACT_NAMES_BYTES * 8 + MIB < 2**32
