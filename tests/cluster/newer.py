"""The same Khala as one version later: what a rolling upgrade puts in the place of the file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from khala.version import VERSION
from tests.cluster.harness import PEX, ROOT

NEXT = re.sub(r"\d+$", lambda patch: str(int(patch.group()) + 1), VERSION)


def make_newer(folder: Path) -> Path:
    """Its wheel says another version, and nothing else in it differs; packed as the file is."""
    _call("wheel", "unpack", str(_one(ROOT / "dist" / "project")), "--dest", str(folder))
    tree = folder / f"khala-{VERSION}"
    for name in ("khala/version.py", f"khala-{VERSION}.dist-info/METADATA"):
        file = tree / name
        text = file.read_text()
        assert VERSION in text
        file.write_text(text.replace(VERSION, NEXT, 1))
    (tree / f"khala-{VERSION}.dist-info").rename(tree / f"khala-{NEXT}.dist-info")
    made = folder / "wheel"
    made.mkdir()
    _call("wheel", "pack", str(tree), "--dest", str(made))
    newer = folder / "khala.pex"
    ours = ("--output-file=", "--pre-resolved-dists=dist/project")
    kept = [line for line in _arguments() if not line.startswith(ours)]
    _call("pex", *kept, f"--pre-resolved-dists={made}", f"--output-file={newer}")
    return newer


def _arguments() -> list[str]:
    """Those with which the file was packed."""
    return (PEX.parent / "pex.args").read_text().splitlines()


def _one(folder: Path) -> Path:
    (wheel,) = folder.glob("khala-*.whl")
    return wheel


def _call(module: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
