"""The build of the web UI: which Node runs, and when a build is done again."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
SYSTEM = "/usr/bin:/bin"


@pytest.fixture(scope="module")
def hatch_ui() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_ui", ROOT / "build" / "hatch_ui.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def set_node(
    folder: Path, monkeypatch: pytest.MonkeyPatch, node: str, npm: str, script: str = ":"
) -> None:
    """Put a `node` and an `npm` of these versions first on PATH; other calls run `script`."""
    folder.mkdir(exist_ok=True)
    program(folder / "node", f"echo v{node}")
    program(folder / "npm", f'if [ "$1" = --version ]; then echo {npm}; else {script}; fi')
    monkeypatch.setenv("PATH", f"{folder}:{SYSTEM}")


@pytest.mark.parametrize(
    ("node", "npm", "fits"),
    [
        ("20.19.0", "11.0.0", True),
        ("24.1.0", "11.19.1", True),
        ("20.18.9", "11.19.1", False),
        ("18.19.0", "9.2.0", False),
        ("22.1.0", "10.9.0", False),
        ("broken", "11.0.0", False),
    ],
)
def test_only_a_recent_node_of_the_machine_is_used(
    hatch_ui: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    node: str,
    npm: str,
    fits: bool,
) -> None:
    set_node(tmp_path, monkeypatch, node, npm)
    found = hatch_ui.machine_node()
    assert (found is not None) == fits
    if fits:
        assert found == hatch_ui.Node(node, tmp_path, (f"{tmp_path}/npm",))


class Ui:
    """A UI whose npm writes down each call and builds by copying."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = root / "ui"
        self.source = self.folder / "src" / "index.html"
        self.source.parent.mkdir(parents=True)
        self.source.write_text("one")
        (self.folder / "package-lock.json").write_text("{}")
        self._calls = root / "calls"
        script = (
            f'echo "$*" >> "{self._calls}"; mkdir -p node_modules dist; '
            '[ "$1" != run ] || cp src/index.html dist/index.html'
        )
        set_node(root / "bin", monkeypatch, "22.0.0", "11.0.0", script)

    def calls(self) -> list[str]:
        """The npm commands since the last call of this."""
        calls = self._calls.read_text().splitlines() if self._calls.exists() else []
        self._calls.unlink(missing_ok=True)
        return [call.split()[0] for call in calls]


@pytest.fixture
def ui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ui:
    return Ui(tmp_path, monkeypatch)


def test_only_what_changed_is_done_again(hatch_ui: ModuleType, ui: Ui) -> None:
    built = hatch_ui.build(ui.folder)
    assert (built / "index.html").read_text() == "one"
    assert ui.calls() == ["ci", "run"]
    hatch_ui.build(ui.folder)
    assert ui.calls() == []
    ui.source.write_text("two")
    hatch_ui.build(ui.folder)
    assert (built / "index.html").read_text() == "two"
    assert ui.calls() == ["run"]
    (ui.folder / "package-lock.json").write_text("{ }")
    hatch_ui.build(ui.folder)
    assert ui.calls() == ["ci", "run"]


def test_a_build_touched_by_hand_is_not_shipped(hatch_ui: ModuleType, ui: Ui) -> None:
    built = hatch_ui.build(ui.folder)
    (built / "index.html").write_text("of other sources")
    hatch_ui.build(ui.folder)
    assert (built / "index.html").read_text() == "one"


def test_a_failed_build_says_what_npm_said(
    hatch_ui: ModuleType, ui: Ui, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_node(tmp_path / "bin", monkeypatch, "22.0.0", "11.0.0", "echo no such module; exit 1")
    with pytest.raises(SystemExit, match=r"npm ci .* failed in .*/ui:\nno such module"):
        hatch_ui.build(ui.folder)


def test_a_build_that_leaves_no_page_fails(
    hatch_ui: ModuleType, ui: Ui, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_node(tmp_path / "bin", monkeypatch, "22.0.0", "11.0.0", "mkdir -p node_modules")
    with pytest.raises(SystemExit, match=r"left no .*/dist/index\.html"):
        hatch_ui.build(ui.folder)


def test_a_rename_changes_the_digest_and_what_is_skipped_does_not(
    hatch_ui: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("1")
    first = hatch_ui.digest(tmp_path)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "b").write_text("2")
    assert hatch_ui.digest(tmp_path, skip=frozenset({"made"})) == first
    assert hatch_ui.digest(tmp_path) != first
    (tmp_path / "a").rename(tmp_path / "c")
    assert hatch_ui.digest(tmp_path, skip=frozenset({"made"})) != first


@pytest.mark.parametrize(("over", "fits"), [(0, True), (1, False)])
def test_the_first_page_is_within_its_bound(
    hatch_ui: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    over: int,
    fits: bool,
) -> None:
    for name in ("entry.js", "shared.js", "page.js", "style.css"):
        (tmp_path / name).write_bytes(name.encode() * 100)
    (tmp_path / "index.html").write_text(
        '<script type="module" src="/entry.js"></script>'
        '<link rel="modulepreload" href="/shared.js"><link rel="stylesheet" href="/style.css">'
    )
    size = sum(
        len(gzip.compress((tmp_path / name).read_bytes())) for name in ("entry.js", "shared.js")
    )
    assert hatch_ui.entry_size(tmp_path) == size
    monkeypatch.setattr(hatch_ui, "ENTRY_MAX_BYTES", size - over)
    assert hatch_ui.check_entry(tmp_path) is fits
    assert ("Lazy.svelte" in capsys.readouterr().out) is not fits
