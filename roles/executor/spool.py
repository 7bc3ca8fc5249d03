"""Results that no Judicator has recorded yet, on disk.

An entry is a directory `<task>.<attempt>` with the outcome and the outputs that were too large
to travel inside it. It is written under another name and renamed, so an entry that exists is
whole. No fsync: what a power cut takes costs a rerun, which is promised to be possible; a killed
process loses nothing. An entry goes when the store has it, or has moved on, and never before.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from khala.model.ids import AttemptNo, TaskId
from khala.model.limits import INLINE_BYTES
from khala.model.task import Outcome, Stream, StreamRef
from khala.protocol.executor import Run

_OUTCOME = "outcome.msgpack"


class Spool:
    """`<root>/spool` holds entries, `<root>/running` the outputs of attempts under way."""

    def __init__(self, root: Path) -> None:
        self._entries = root / "spool"
        self._running = root / "running"
        self._entries.mkdir(parents=True, exist_ok=True)
        # Outputs of attempts that died with an earlier life of this process.
        shutil.rmtree(self._running, ignore_errors=True)
        self._running.mkdir(parents=True)
        self._decoder = msgspec.msgpack.Decoder(Outcome)
        self._encoder = msgspec.msgpack.Encoder()

    def load(self) -> dict[Run, Outcome]:
        """Every whole entry; anything else is removed."""
        found: dict[Run, Outcome] = {}
        for entry in self._entries.iterdir():
            task, _, attempt = entry.name.partition(".")
            try:
                outcome = self._decoder.decode((entry / _OUTCOME).read_bytes())
                found[(TaskId(task), AttemptNo(int(attempt)))] = outcome
            except (OSError, ValueError, msgspec.MsgspecError):
                shutil.rmtree(entry, ignore_errors=True)
        return found

    def begin(self, run: Run) -> Path:
        """A fresh directory for the attempt's outputs, one file per `Stream` by its name."""
        folder = self._running / _name(run)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def commit(self, run: Run, outcome: Outcome) -> Outcome:
        """Make the result an entry; small outputs move into the returned outcome."""
        folder = self._running / _name(run)
        sizes = {
            stream: path.stat().st_size for stream in Stream if (path := folder / stream).exists()
        }
        inline = sum(sizes.values()) <= INLINE_BYTES
        streams: dict[Stream, StreamRef] = {}
        for stream, size in sizes.items():
            path = folder / stream
            if inline or size == 0:
                streams[stream] = StreamRef(size_bytes=size, inline=path.read_bytes())
                path.unlink()
            else:
                streams[stream] = StreamRef(size_bytes=size)
        outcome = msgspec.structs.replace(outcome, streams=streams)
        for leftover in folder.glob("*.part"):
            leftover.unlink()
        (folder / _OUTCOME).write_bytes(self._encoder.encode(outcome))
        folder.rename(self._entries / _name(run))
        return outcome

    def stream_path(self, run: Run, stream: Stream) -> Path:
        """Where a spooled output lies that is not inline."""
        return self._entries / _name(run) / stream

    def discard(self, run: Run) -> None:
        """Remove the attempt's output, spooled or under way."""
        for folder in (self._entries / _name(run), self._running / _name(run)):
            if folder.exists():
                shutil.rmtree(folder, ignore_errors=True)


def _name(run: Run) -> str:
    return f"{run[0]}.{run[1]}"
