"""A context decides where tasks and tokens go: nothing about it may be guessed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from khala.cli import cli
from khala.model.errors import NotFound, Rejected
from roles.client.connection import URL_DEFAULT, connection_of
from roles.client.contexts import CONTEXTS, Context, Contexts


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def _token(folder: Path, text: str = "t" * 32) -> str:
    path = folder / "token"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def _khala(*words: str) -> str:
    done = CliRunner().invoke(cli, ["context", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_without_any_the_gateway_of_this_host_is_meant() -> None:
    assert connection_of(None, None, None).url == URL_DEFAULT


def test_the_first_one_is_in_use_at_once_and_another_on_demand(home: Path) -> None:
    _khala("set", "lab", "--url", "http://lab:7000/")
    _khala("set", "prod", "--url", "http://prod:7000", "--token-file", _token(home))
    assert connection_of(None, None, None).url == "http://lab:7000"
    assert connection_of(None, None, "prod").token == "t" * 32
    _khala("use", "prod")
    listed = _khala("ls").splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["lab", "*"]
    _khala("rm", "prod")
    assert connection_of(None, None, None).url == URL_DEFAULT


def test_a_token_goes_to_the_gateway_of_its_context_only(home: Path) -> None:
    Contexts().with_one("lab", Context(url="http://lab:7000", token_file=_token(home))).write()
    assert connection_of(None, None, None).token is not None
    assert connection_of("http://elsewhere:7000", None, None).token is None
    with pytest.raises(Rejected, match="two gateways"):
        connection_of("http://elsewhere:7000", None, "lab")


def test_the_file_is_its_owners_and_holds_no_token(home: Path) -> None:
    name = 'with-"quotes"'
    with pytest.raises(Rejected, match="a context's name"):
        Contexts().with_one(name, Context(url="http://lab:7000"))
    Contexts().with_one("lab", Context(url="http://lab:7000", token_file=_token(home))).write()
    path = home / "khala" / "client.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "tttt" not in path.read_text()
    assert [each.name for each in path.parent.iterdir()] == ["client.toml"]


@pytest.mark.parametrize(
    "text", ["current = 1", "current = 'gone'", "[contexts.a]\nurl = 1", "= ", "[contexts.a]"]
)
def test_a_file_that_cannot_be_understood_is_never_passed_over(home: Path, text: str) -> None:
    path = home / "khala" / "client.toml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(Rejected, match=r"client\.toml"):
        connection_of(None, None, None)


@pytest.mark.parametrize("url", ["lab:7000", "ftp://lab", "http://", "http://ann:pw@lab:7000"])
def test_a_url_is_checked_when_it_is_named(url: str) -> None:
    with pytest.raises(Rejected, match="--url"):
        Contexts().with_one("lab", Context(url=url))


def test_unknown_names_say_which_are_known() -> None:
    known = Contexts().with_one("lab", Context(url="http://lab:7000"))
    with pytest.raises(NotFound, match="known are: lab"):
        known.using("home")


def test_their_number_is_bounded() -> None:
    context = Context(url="http://lab:7000")
    full = Contexts(contexts={f"c{n}": context for n in range(CONTEXTS)})
    full.with_one("c0", context)
    with pytest.raises(Rejected, match="the limit"):
        full.with_one("one-more", context)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_calls_the_program_under_its_own_name(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell], prog_name="khala.pex")
    assert done.exit_code == 0
    assert f"_KHALA_PEX_COMPLETE={shell}_complete" in done.output


def test_completion_knows_commands_and_what_was_submitted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    connection_of(None, None, None).remember("6b04d4787d852fb9eb7f7a4e")

    def completed(words: str) -> list[str]:
        env = {
            "_KHALA_PEX_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        done = CliRunner().invoke(cli, [], prog_name="khala.pex", env=env)
        return [line.partition(",")[2] for line in done.output.splitlines()]

    assert completed("khala.pex fe") == ["fetch"]
    assert completed("khala.pex get 6b") == ["6b04d4787d852fb9eb7f7a4e"]
    assert completed("khala.pex get la") == ["last"]
