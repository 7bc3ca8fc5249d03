"""`up`: a judicator, an executor and a gateway on this host, as processes of their own.

For people, so it says on stderr what it is waiting for, prints one line with the URL on stdout
when a task would be accepted, and ends cleanly at Ctrl-C.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from functools import partial
from pathlib import Path

from khala.config.settings import Settings
from khala.supervise.child import ChildSpec, ChildView, State
from khala.supervise.datadir import lock_dir, make_dir
from khala.supervise.probes import http_ok, require_free, tcp_answers
from khala.supervise.tree import Identity, Tree
from roles.command import command

#: A judicator gives its databases this long, and itself a little more.
JUDICATOR_STOP_S = 45.0
_WAITING_FOR = {
    "judicator": "etcd and MongoDB; a first start takes a few seconds",
    "executor": "the sandbox",
    "gateway": "the cluster to accept tasks",
}


def run(settings: Settings, *, init: bool = False) -> int:
    """Run everything until Ctrl-C or SIGTERM; 2 if a role refuses its settings."""
    return asyncio.run(_main(settings, init=init))


async def _main(settings: Settings, *, init: bool) -> int:
    data_dir = make_dir(Path(settings.data_dir))
    # A second `up` here must not even say what runs: the report is the first one's.
    lock_dir(make_dir(data_dir / "run"))
    # Before anything is started: the gateway itself comes last and would tell much later.
    require_free(settings.gateway.bind, settings.gateway.port, "--http-port")
    stop, started = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    progress = Progress()
    tree = Tree(
        Identity(role="up", rpc=f"{settings.local}:{settings.rpc.port}"),
        _specs(settings, init=init),
        data_dir / "run" / "up.json",
        progress.show,
    )
    announce = asyncio.ensure_future(_announce(settings, started))
    farewell = asyncio.ensure_future(_farewell(stop))
    try:
        return await tree.run(stop, started)
    finally:
        announce.cancel()
        farewell.cancel()


def _specs(settings: Settings, *, init: bool) -> list[ChildSpec]:
    gateway = settings.gateway
    host = "127.0.0.1" if gateway.bind in ("0.0.0.0", "::") else gateway.bind  # noqa: S104
    return [
        ChildSpec(
            name="judicator",
            argv=(*command("judicator", settings), *(("--init",) if init else ())),
            stop_s=JUDICATOR_STOP_S,
            probe=partial(tcp_answers, settings.local, settings.rpc.port),
        ),
        ChildSpec(
            name="executor",
            argv=command("executor", settings),
            stop_s=settings.executor.drain + 10.0,
        ),
        ChildSpec(
            name="gateway",
            argv=command("gateway", settings),
            death_signal="KILL",
            probe=partial(http_ok, host, gateway.port, "/readyz"),
        ),
    ]


async def _announce(settings: Settings, started: asyncio.Event) -> None:
    await started.wait()
    url = f"http://{settings.gateway.bind}:{settings.gateway.port}"
    print(f"Khala accepts tasks at {url}  (data in {settings.data_dir}; Ctrl-C stops)", flush=True)


async def _farewell(stop: asyncio.Event) -> None:
    await stop.wait()
    _say("stopping; running tasks are handed back, everything is kept")


class Progress:
    """One line on stderr for each change that a waiting person cares about."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown: dict[str, State] = {}

    def show(self, views: list[ChildView]) -> None:
        for view in views:
            if self._shown.get(view.name) is view.state:
                continue
            before = self._shown.get(view.name)
            self._shown[view.name] = view.state
            match view.state:
                case State.STARTING if before in (None, State.STOPPED):
                    _say(f"{view.name}: waiting for {_WAITING_FOR[view.name]} ...")
                case State.UP:
                    _say(f"{view.name}: up after {time.monotonic() - self._began:.1f} s")
                case State.BACKOFF:
                    _say(f"{view.name}: {view.last_exit}; it is started again")
                case State.FAILED:
                    _say(f"{view.name}: {view.last_exit}; see its message above")


def _say(text: str) -> None:
    print(f"khala: {text}", file=sys.stderr, flush=True)
