"""Death at an exact line, without a line of it in the product.

Khala's processes are Python in a virtual environment that the file unpacks. In the hosts' copy of
it lies a `.pth` file, which Python runs at every start; it wraps the functions named below as soon
as their module is imported. A wrapped function looks for a file of its point's name: it takes the
file away, so that one process dies once, and kills itself. Copies that users have know nothing of
this, and cost nothing.

Killing at random hardly ever hits the instants between a write and its answer; these do, always.
"""

from __future__ import annotations

from pathlib import Path

#: Point -> module, function, and whether it dies before or after the function's work. `twice` dies
#: nowhere: what the function returns, a list, is then all there twice.
POINTS: dict[str, tuple[str, str, str]] = {
    "accept.before_commit": ("khala.store.committer", "Committer.accept", "before"),
    "accept.after_commit": ("khala.store.committer", "Committer.accept", "after"),
    "lease.committed": ("khala.store.committer", "Committer.lease", "after"),
    "finish.committed": ("khala.store.committer", "Committer.finish", "after"),
    "turn.taken": ("khala.store.quotas", "MongoQuotas.take_turn_if_next", "after"),
    "election.won": ("khala.store.sessions", "MongoSessions.take_leadership", "before"),
    "assign.received": ("khala.core.agent", "Agent._on_assign", "before"),
    "journalled": ("roles.executor.journal", "Journal.append", "after"),
    "run.ended": ("roles.executor.spool", "Spool.commit", "before"),
    "spooled": ("roles.executor.spool", "Spool.commit", "after"),
    "recorded": ("roles.executor.spool", "Spool.discard", "before"),
    "twice": ("khala.protocol.wire", "Codec.encode", "twice"),
}
#: Where a host looks for armed points.
FOLDER = "/srv/failpoints"

_MODULE = """
import functools, importlib.abc, importlib.machinery, inspect, os, signal, sys

POINTS = {points!r}
FOLDER = {folder!r}


def _die(point):
    try:
        os.unlink(os.path.join(FOLDER, point))
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _wrap(function, point, when):
    if inspect.iscoroutinefunction(function):
        async def wrapped(*args, **kwargs):
            if when == "before":
                _die(point)
            answer = await function(*args, **kwargs)
            if when == "after":
                _die(point)
            return answer
    else:
        def wrapped(*args, **kwargs):
            if when == "before":
                _die(point)
            answer = function(*args, **kwargs)
            if when == "after":
                _die(point)
            if when == "twice" and os.path.exists(os.path.join(FOLDER, point)):
                answer = [each for each in answer for _ in range(2)]
            return answer
    return functools.wraps(function)(wrapped)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        mine = [(p, f, w) for p, (m, f, w) in POINTS.items() if m == name]
        if not mine:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            for point, path, when in mine:
                owner = module
                *parents, last = path.split(".")
                for parent in parents:
                    owner = getattr(owner, parent)
                setattr(owner, last, _wrap(getattr(owner, last), point, when))
        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Finder())
"""


def install(site_packages: Path) -> None:
    """Into one virtual environment."""
    text = _MODULE.format(points=POINTS, folder=FOLDER)
    (site_packages / "khala_failpoints.py").write_text(text)
    (site_packages / "khala_failpoints.pth").write_text(
        f"import os; os.path.isdir({FOLDER!r}) and __import__('khala_failpoints')\n"
    )
