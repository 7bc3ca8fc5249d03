"""Executors that get no new work, or are not to be shown any more, because an operator says so.

POST   /rpc/v1/nodes/<name>/cordon   SetCordon -> NodeLoad
DELETE /rpc/v1/nodes/<name>/cordon   -> NodeLoad
GET    /rpc/v1/nodes/<name>          -> NodeLoad
DELETE /rpc/v1/nodes/<name>          -> NodeLoad, as it was; of one that is lost
"""

from __future__ import annotations

from msgspec import Struct

from khala.model.executor import ExecutorRecord


class SetCordon(Struct, frozen=True, kw_only=True):
    reason: str
    #: Of a drain: what still runs there then runs elsewhere.
    deadline_s: float | None = None


class NodeLoad(Struct, frozen=True, kw_only=True):
    record: ExecutorRecord
    #: Tasks that it holds: running, or on their way.
    running: int
