"""`cordon`, `uncordon` and `drain`."""

from __future__ import annotations

import sys
import time

from msgspec import Struct

from khala.config.settings import Settings
from khala.model.errors import Unavailable
from khala.protocol.nodes import NodeLoad, SetCordon
from roles.admin.asking import ask, audited

_LOOK_S = 0.5
#: From the deadline to an executor that is empty: its judicator may just be changing.
_MOVE_S = 60.0


class _Nothing(Struct):
    """A request without a body."""


def cordon(settings: Settings, executor: str, reason: str) -> int:
    with audited(settings, "node.cordon", executor, reason):
        load = _set(settings, executor, SetCordon(reason=reason))
    print(
        f"{executor} gets no new work; {_still(load.running)}. Undo: khala.pex uncordon {executor}"
    )
    return 0


def uncordon(settings: Settings, executor: str) -> int:
    path = f"/rpc/v1/nodes/{executor}/cordon"
    with audited(settings, "node.uncordon", executor):
        ask(settings, lambda client: client.ask("DELETE", path, _Nothing(), NodeLoad))
    print(f"{executor} gets work again.")
    return 0


def drain(
    settings: Settings, executor: str, deadline_s: float, reason: str, *, monitor: bool
) -> int:
    """Return when it is empty: soon after the deadline at the latest, when what still runs there
    is given back. Raise `Unavailable` if that does not happen either."""
    deadline = time.monotonic() + deadline_s + _MOVE_S
    with audited(settings, "node.drain", executor, reason):
        load = _set(settings, executor, SetCordon(reason=reason, deadline_s=deadline_s))
    path = f"/rpc/v1/nodes/{executor}"
    shown = -1
    while load.running:
        if monitor and load.running != shown:
            print(f"khala: {_still(load.running)}", file=sys.stderr, flush=True)
            shown = load.running
        if time.monotonic() > deadline:
            raise Unavailable(
                f"--deadline: {executor} is not empty, {_still(load.running)}, though they were to"
                " be given back; it stays cordoned. Is its judicator serving? See khala.pex nodes"
            )
        time.sleep(_LOOK_S)
        load = ask(settings, lambda client: client.ask("GET", path, None, NodeLoad))
    print(f"{executor} is empty; safe to stop.")
    return 0


def _set(settings: Settings, executor: str, cordon: SetCordon) -> NodeLoad:
    path = f"/rpc/v1/nodes/{executor}/cordon"
    return ask(settings, lambda client: client.ask("POST", path, cordon, NodeLoad))


def _still(running: int) -> str:
    return f"{running} task{'s' * (running != 1)} still on it"
