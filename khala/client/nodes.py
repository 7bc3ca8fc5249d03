"""The nodes of a cluster and what operators do with them, as methods of the client."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from khala.client.documents import DocumentCalls
from khala.client.transport import JSON, parse
from khala.protocol.v2 import Examination, Examinations, Node, Nodes, NodeWork


class NodeCalls(DocumentCalls):
    """A part of `AsyncKhala`."""

    async def nodes(self) -> Nodes:
        return parse(Nodes, await self._ask("GET", "/api/v2/nodes"))

    async def get_node(self, name: str) -> Node:
        """The executor or the judicator of this name, and how many tasks it has."""
        return parse(Node, await self._ask("GET", _path(name)))

    async def examine_node(self, name: str) -> list[Examination]:
        """What its host lacks, by role: none while it has not looked. For operators."""
        return parse(Examinations, await self._ask("GET", f"{_path(name)}/doctor")).items

    async def cordon(self, name: str, *, reason: str = "") -> NodeWork:
        """Let an executor have no new work; what it runs goes on."""
        return await self._mark(f"{_path(name)}/cordon", {"reason": reason})

    async def drain(
        self, name: str, *, deadline: float | str = "15m", reason: str = ""
    ) -> NodeWork:
        """Cordon an executor, and let it be empty at the deadline: what still runs there then runs
        again elsewhere. It is answered at once; `get_node` tells what it has."""
        return await self._mark(f"{_path(name)}/drain", {"deadline": deadline, "reason": reason})

    async def uncordon(self, name: str) -> NodeWork:
        """Let an executor have work again."""
        return parse(NodeWork, await self._ask("DELETE", f"{_path(name)}/cordon"))

    async def forget_node(self, name: str) -> None:
        """Let an executor that is lost not be listed any more; raise `NotPossible` for another."""
        await self._ask("DELETE", _path(name))

    async def _mark(self, path: str, document: dict[str, float | str]) -> NodeWork:
        body = msgspec.json.encode(document)
        return parse(NodeWork, await self._ask("POST", path, body=body, headers=JSON))


def _path(name: str) -> str:
    return f"/api/v2/nodes/{quote(name, safe='')}"
