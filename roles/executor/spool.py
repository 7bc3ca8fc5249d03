"""Results that no Judicator has recorded yet, on disk.

An entry is a file `<task>.<attempt>.msgpack` with the outcome; outputs that are too large to
travel inside it lie in a directory `<task>.<attempt>` beside it. The file is written under
another name and renamed, last of all, so a killed process loses nothing. No fsync: after a power
cut an entry may lack bytes that it speaks of; it is removed when it is read again, and costs a
rerun, which is promised to be possible. An entry goes when the store has it, or has moved on, and
never before.

Attempts write their outputs into a directory of their slot, which is emptied when the next one
begins: a small task costs one file here, and no directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import msgspec

from khala.model.ids import AttemptNo, TaskId
from khala.model.limits import INLINE_BYTES
from khala.model.outcome import Bundle, Chunked, Outcome, Stream, StreamRef
from khala.protocol.executor import Run

_SUFFIX = ".msgpack"
#: What travels inside the result while it is small.
_OUTPUTS: tuple[Chunked, ...] = (*Stream, Bundle.CASES)


class Spool:
    """`<root>/spool` holds entries, `<root>/running/<slot>` the outputs of attempts under way."""

    def __init__(self, root: Path, slots: int) -> None:
        self._entries = root / "spool"
        self._running = root / "running"
        self._entries.mkdir(parents=True, exist_ok=True)
        # Outputs of attempts that died with an earlier life of this process.
        shutil.rmtree(self._running, ignore_errors=True)
        for slot in range(slots):
            (self._running / str(slot)).mkdir(parents=True)
        #: Entries with a directory.
        self._large: set[Run] = set()
        self._decoder = msgspec.msgpack.Decoder(Outcome)
        self._encoder = msgspec.msgpack.Encoder()

    def load(self) -> dict[Run, Outcome]:
        """Every whole entry; anything else is removed."""
        found: dict[Run, Outcome] = {}
        for path in list(self._entries.iterdir()):
            task, _, attempt = path.name.removesuffix(_SUFFIX).partition(".")
            if path.name.endswith(_SUFFIX):
                try:
                    outcome = self._decoder.decode(path.read_bytes())
                    run = (TaskId(task), AttemptNo(int(attempt)))
                    self._check(run, outcome)
                    found[run] = outcome
                    if chunked_of(outcome):
                        self._large.add(run)
                except (OSError, ValueError, msgspec.MsgspecError):
                    path.unlink()
        for path in list(self._entries.iterdir()):
            if path.suffix != _SUFFIX and not path.with_name(path.name + _SUFFIX).exists():
                _remove(path)
        return found

    def _check(self, run: Run, outcome: Outcome) -> None:
        """Raise if bytes are missing: they could never be delivered, or would be missing from what
        is recorded for good."""
        for stream in chunked_of(outcome):
            size = self.stream_path(run, stream).stat().st_size
            if size != _size_of(outcome, stream):
                raise ValueError(f"{stream}: {size} bytes are left of it")

    def begin(self, slot: int) -> Path:
        """The slot's directory, emptied; one file per `Stream` and for artifacts, by its name."""
        folder = self._running / str(slot)
        for name in os.listdir(folder):
            (folder / name).unlink()
        return folder

    def commit(self, run: Run, slot: int, outcome: Outcome) -> Outcome:
        """Make the result an entry; small outputs move into the returned outcome."""
        folder = self._running / str(slot)
        present = set(os.listdir(folder))
        left = [name for name in _OUTPUTS if name in present]
        sizes = {name: (folder / name).stat().st_size for name in left}
        inline = sum(sizes.values()) <= INLINE_BYTES
        refs: dict[Chunked, StreamRef] = {}
        for name, size in sizes.items():
            if inline or size == 0:
                content = (folder / name).read_bytes() if size else b""
                refs[name] = StreamRef(size_bytes=size, inline=content)
            else:
                self._keep(run, folder / name)
                refs[name] = StreamRef(size_bytes=size)
        outcome = msgspec.structs.replace(
            outcome,
            streams={stream: refs[stream] for stream in Stream if stream in refs},
            case_outputs=refs.get(Bundle.CASES),
        )
        if Bundle.ARTIFACTS in chunked_of(outcome):
            self._keep(run, folder / Bundle.ARTIFACTS)
        entry = self._entry(run)
        draft = entry.with_suffix(".new")
        draft.write_bytes(self._encoder.encode(outcome))
        draft.rename(entry)
        return outcome

    def stream_path(self, run: Run, stream: Chunked) -> Path:
        """Where one of `chunked_of` lies."""
        return self._outputs(run) / stream

    def discard(self, run: Run) -> None:
        """Remove an entry, or what there is of it."""
        with contextlib.suppress(FileNotFoundError):
            self._entry(run).unlink()
        if run in self._large:
            self._large.discard(run)
            shutil.rmtree(self._outputs(run), ignore_errors=True)

    def _keep(self, run: Run, path: Path) -> None:
        self._large.add(run)
        folder = self._outputs(run)
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)

    def _entry(self, run: Run) -> Path:
        return self._entries / f"{run[0]}.{run[1]}{_SUFFIX}"

    def _outputs(self, run: Run) -> Path:
        return self._entries / f"{run[0]}.{run[1]}"


def chunked_of(outcome: Outcome) -> list[Chunked]:
    """What of a spooled result does not travel with it."""
    large: list[Chunked] = [stream for stream, ref in outcome.streams.items() if ref.inline is None]
    if outcome.case_outputs is not None and outcome.case_outputs.inline is None:
        large.append(Bundle.CASES)
    if outcome.artifacts is not None and outcome.artifacts.size_bytes:
        large.append(Bundle.ARTIFACTS)
    return large


def _size_of(outcome: Outcome, stream: Chunked) -> int:
    if isinstance(stream, Stream):
        return outcome.streams[stream].size_bytes
    if stream is Bundle.CASES:
        return outcome.case_outputs.size_bytes if outcome.case_outputs is not None else 0
    return outcome.artifacts.size_bytes if outcome.artifacts is not None else 0


def _remove(path: Path) -> None:
    """Part of an entry that was never finished."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
