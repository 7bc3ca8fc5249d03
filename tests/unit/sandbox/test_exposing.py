"""Which directories of the host may be shown to tasks, where, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from khala.model.errors import Rejected
from sandbox.exposing import Exposed, resolve_exposed

TAKEN = ("/usr", "/bin", "/etc/passwd", "/proc", "/box")
WORK_ROOT = "/run/khala/e"


def resolve(*texts: str) -> tuple[Exposed, ...]:
    return resolve_exposed(texts, TAKEN, WORK_ROOT)


@pytest.fixture
def gcc(tmp_path: Path) -> Path:
    top = tmp_path / "gcc, version: 13 é"
    (top / "bin").mkdir(parents=True)
    (top / "cc").touch()
    return top


def test_a_directory_is_shown_at_its_own_path(gcc: Path) -> None:
    # A bare colon belongs to a path unless a slash follows it.
    [shown] = resolve(f"{gcc}/")
    assert shown == Exposed(source=str(gcc), target=str(gcc))


def test_a_directory_is_shown_at_another_path(gcc: Path) -> None:
    [shown] = resolve(f"{gcc}:/opt/gcc")
    assert (shown.source, shown.target, shown.programs) == (str(gcc), "/opt/gcc", "/opt/gcc/bin")


def test_a_colon_before_a_slash_may_belong_to_a_path(gcc: Path) -> None:
    (gcc / "a:").mkdir()
    (gcc / "a:" / "bin").mkdir()
    [shown] = resolve(rf"{gcc}/a\:/bin:/opt/a")
    assert (shown.source, shown.target) == (f"{gcc}/a:/bin", "/opt/a")


def test_a_symlink_is_followed_once(gcc: Path, tmp_path: Path) -> None:
    link = tmp_path / "gcc"
    link.symlink_to(gcc)
    [shown] = resolve(str(link))
    assert (shown.source, shown.target) == (str(gcc), str(link))


def test_programs_go_to_the_path(gcc: Path) -> None:
    (gcc / "lib").mkdir()
    texts = [f"{gcc}:/opt/gcc", f"{gcc}/bin:/srv/bin", f"{gcc}/lib:/srv/lib", f"{gcc}:/srv/a:b"]
    assert [shown.programs for shown in resolve(*texts)] == ["/opt/gcc/bin", "/srv/bin", None, None]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("opt/gcc", "opt/gcc is not an absolute path without '..'"),
        ("", "is not an absolute path"),
        ("{gcc}/../x", "is not an absolute path without '..'"),
        ("{gcc}:/opt/../usr", "/opt/../usr is not an absolute path without '..'"),
        ("{gcc}:/a:/b", r"more than two paths; write a colon that belongs to a path as \:"),
        ("{gcc}/none", "{gcc}/none: No such file or directory; name a directory of this host"),
        ("{gcc}/cc", "{gcc}/cc is not a directory; name the one it is in: {gcc}"),
        ("/", "/ is not a directory of programs"),
        ("/proc/self", " is not a directory of programs"),
        ("/sys:/opt/sys", "/sys is not a directory of programs"),
        ("/run", "/run holds the boxes of all tasks (/run/khala/e)"),
        ("{gcc}:/", "/ is part of every jail or shadowed by it; show the directory at another"),
        ("{gcc}:/usr/gcc", "/usr/gcc is part of every jail"),
        ("{gcc}:/box/gcc", "/box/gcc is part of every jail or shadowed by it"),
        ("{gcc}:/etc", "/etc is part of every jail"),
    ],
)
def test_what_is_refused(gcc: Path, text: str, why: str) -> None:
    with pytest.raises(Rejected) as refused:
        resolve(text.format(gcc=gcc))
    assert why.format(gcc=gcc) in refused.value.message
    assert refused.value.message.startswith(f"--expose: {text.format(gcc=gcc)}: ")
    assert refused.value.field == "--expose"


def test_a_directory_that_tasks_may_not_enter_is_refused(gcc: Path) -> None:
    gcc.chmod(0o750)
    with pytest.raises(Rejected, match=r"has mode 0750, .* repair with: chmod o\+rx "):
        resolve(str(gcc))


def test_the_mode_of_the_directories_above_does_not_matter(gcc: Path) -> None:
    gcc.parent.chmod(0o700)
    assert resolve(str(gcc))


@pytest.mark.parametrize(
    ("others", "why"),
    [
        (["{gcc}", "{gcc}"], "{gcc} is exposed twice; leave one out"),
        (["{gcc}", "{gcc}/bin:{gcc}"], "{gcc} is exposed twice"),
        (["{gcc}", "{gcc}/bin"], "{gcc}/bin and {gcc} lie in one another; name the outer one only"),
        (["{gcc}/bin", "{gcc}"], "{gcc} and {gcc}/bin lie in one another"),
    ],
)
def test_what_is_shown_twice_is_refused(gcc: Path, others: list[str], why: str) -> None:
    with pytest.raises(Rejected) as refused:
        resolve(*(text.format(gcc=gcc) for text in others))
    assert why.format(gcc=gcc) in refused.value.message


def test_one_directory_at_two_paths(gcc: Path) -> None:
    assert len(resolve(str(gcc), f"{gcc}:/opt/gcc")) == 2
