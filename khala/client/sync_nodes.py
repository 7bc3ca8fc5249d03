"""Nodes, as methods of the blocking client."""

from __future__ import annotations

from khala.client.sync_jobs import BlockingJobs
from khala.protocol.v2 import Examination, Node, Nodes, NodeWork


class BlockingNodes(BlockingJobs):
    """A part of `Khala`."""

    def nodes(self) -> Nodes:
        return self._do(self._inner.nodes())

    def get_node(self, name: str) -> Node:
        return self._do(self._inner.get_node(name))

    def examine_node(self, name: str) -> list[Examination]:
        return self._do(self._inner.examine_node(name))

    def cordon(self, name: str, *, reason: str = "") -> NodeWork:
        return self._do(self._inner.cordon(name, reason=reason))

    def drain(self, name: str, *, deadline: float | str = "15m", reason: str = "") -> NodeWork:
        return self._do(self._inner.drain(name, deadline=deadline, reason=reason))

    def uncordon(self, name: str) -> NodeWork:
        return self._do(self._inner.uncordon(name))

    def forget_node(self, name: str) -> None:
        self._do(self._inner.forget_node(name))
