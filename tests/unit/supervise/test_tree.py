"""Several real children: their order, and what their supervisor reports."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from khala.supervise.child import REFUSED, ChildSpec, State
from khala.supervise.tree import Identity, Tree, TreeView
from tests.unit.supervise.conftest import Run
from tests.unit.supervise.waiting import is_alive, until

IDENTITY = Identity(role="tester", rpc="127.0.0.1:1")


class Scene:
    """Children that write down when they start and stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.diary = folder / "diary"
        self.state_file = folder / "run" / "state.json"
        self.stop, self.started = asyncio.Event(), asyncio.Event()

    def spec(self, name: str, **changes: object) -> ChildSpec:
        """Serves when it has written to the diary; stops after it has written again."""
        script = (
            f"echo {name} up >> {self.diary}; trap 'echo {name} down >> {self.diary}; exit' TERM;"
            f" touch {self.folder}/{name}; while :; do sleep 0.02; done"
        )
        fields = {"argv": ("sh", "-c", script), "probe": self.probe(name), **changes}
        return ChildSpec(name=name, **fields)  # type: ignore[arg-type]

    def probe(self, name: str) -> Callable[[], object]:
        async def ready() -> bool:
            return (self.folder / name).exists()

        return ready

    def run(self, *specs: ChildSpec) -> asyncio.Task[int]:
        self.tree = Tree(IDENTITY, specs, self.state_file)
        return asyncio.create_task(self.tree.run(self.stop, self.started))

    def report(self) -> TreeView:
        return msgspec.json.decode(self.state_file.read_bytes(), type=TreeView)


def test_start_in_order_and_stop_in_reverse(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        running = scene.run(*(scene.spec(name) for name in "abc"))
        await scene.started.wait()
        report = scene.report()
        assert (report.role, report.rpc, report.pid) == ("tester", "127.0.0.1:1", os.getpid())
        assert [child.state for child in report.children] == [State.UP] * 3
        scene.stop.set()
        assert await running == 0
        assert scene.diary.read_text().split("\n")[:-1] == [
            *("a up", "b up", "c up", "c down", "b down", "a down")
        ]
        assert not scene.state_file.exists()

    run(main())


def test_a_stop_during_the_start_starts_nothing_more(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)

        async def never() -> bool:
            return False

        running = scene.run(scene.spec("a"), scene.spec("b", probe=never), scene.spec("c"))
        await until((tmp_path / "b").exists)
        scene.stop.set()
        assert await running == 0
        assert not scene.started.is_set() and not (tmp_path / "c").exists()
        assert scene.diary.read_text().endswith("b down\na down\n")

    run(main())


@pytest.mark.parametrize("place", [0, 1])
def test_a_role_that_refuses_stops_the_others(run: Run, tmp_path: Path, place: int) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        specs = [scene.spec("a")]
        specs.insert(place, ChildSpec(name="wrong", argv=("sh", "-c", "exit 2")))
        assert await scene.run(*specs) == REFUSED
        assert all(view.pid is None for view in scene.tree.views)

    run(main())


def test_the_others_go_on_without_a_child_that_was_given_up(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("khala.supervise.restarts.BACKOFF_MIN_S", 0.01)

    async def main() -> None:
        scene = Scene(tmp_path)

        async def never() -> bool:
            return False

        broken = ChildSpec(
            name="broken", argv=("sh", "-c", "exit 14"), may_give_up=True, probe=never
        )
        running = scene.run(broken, scene.spec("a"))
        await scene.started.wait()
        views = scene.report().children
        assert [view.state for view in views] == [State.FAILED, State.UP]
        assert views[0].last_exit == "exited with 14, again and again; tried once a minute"
        scene.stop.set()
        assert await running == 0

    run(main())


def test_a_killed_child_comes_back_and_the_report_says_so(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        running = scene.run(scene.spec("a"), scene.spec("b"))
        await scene.started.wait()
        pids = [view.pid for view in scene.report().children]
        assert pids[0] is not None
        os.kill(pids[0], signal.SIGKILL)
        await until(lambda: scene.report().children[0].restarts == 1)
        await until(lambda: scene.report().children[0].state is State.UP)
        view = scene.report().children[0]
        assert view.last_exit == "killed by SIGKILL" and view.pid not in (None, pids[0])
        assert scene.report().children[1].pid == pids[1]
        scene.stop.set()
        await running

    run(main())


def test_a_report_that_cannot_be_written_disturbs_nobody(run: Run, tmp_path: Path) -> None:
    """As on a full disk, where the databases end and must be started again."""

    async def main() -> None:
        scene = Scene(tmp_path)
        running = scene.run(scene.spec("a"))
        await scene.started.wait()
        scene.state_file.with_suffix(".new").mkdir()
        pid = scene.tree.views[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: scene.tree.views[0].restarts == 1)
        assert not scene.state_file.exists()
        scene.stop.set()
        assert await running == 0
        assert not is_alive(pid)

    run(main())


def test_a_defect_stops_every_child(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)

        async def defect() -> bool:
            raise ZeroDivisionError

        running = scene.run(scene.spec("a"), scene.spec("b", probe=defect))
        with pytest.raises(ExceptionGroup):
            await running
        assert all(view.pid is None for view in scene.tree.views)
        assert "a down" in scene.diary.read_text()

    run(main())
