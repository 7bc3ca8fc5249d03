"""What attempts write, as methods: executors put it, gateways read it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from khala.model.ids import TaskId
from khala.model.live import LiveChunk
from khala.net.calls import WRITE_S, WRITE_TOTAL_S, Call, Calls, parse
from khala.protocol.rpc import LogView, PutLive, ReadLog

_encode = msgspec.msgpack.Encoder().encode
_decode_view = msgspec.msgpack.Decoder(LogView)


class LogClient(Calls):
    """All of it may be repeated."""

    async def put_live(self, chunks: Sequence[LiveChunk]) -> None:
        """Store what attempts have written by now; the same chunk twice is stored once."""
        call = Call(
            method="POST",
            path="/rpc/v1/live",
            body=_encode(PutLive(chunks=list(chunks))),
            try_s=WRITE_S,
            total_s=WRITE_TOTAL_S,
        )
        await self._call(call)

    async def read_log(self, task: TaskId, query: ReadLog) -> LogView:
        """Bytes of one section from the offsets on that `query` has; see `LogView`."""
        call = Call(method="POST", path=f"/rpc/v1/logs/{task}", body=_encode(query), reads=True)
        return parse(_decode_view, await self._call(call))
