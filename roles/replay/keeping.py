"""`--keep`: the inputs and both outputs of a replay, left in a folder for people to look at.

The names in a task's archives are a stranger's. They are unpacked by the code that fills the boxes
of jails, through open directories only, into a folder that is new: nothing of the caller's can be
written over, and nothing is written beside it. The folder is opened before this process changes
its view of the file system, and filled when it is sure to be the owner of what it makes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from khala.model.errors import Rejected
from khala.model.spec import Part
from roles.executor.attempt import room_of
from roles.replay.ending import End, Written
from roles.replay.pulling import Pulled
from sandbox.archive import unpack
from sandbox.errors import BadArchive
from sandbox.folders import create_file, open_folder

_COPY_BYTES = 1 << 20
#: Below the folder: the work directory as the first stage finds it, each part as it was given, and
#: what was written then and here.
_SOURCE, _GIVEN, _RECORDED, _REPLAYED = b"source", b"given", b"recorded", b"replayed"
_ARCHIVES = (
    (Part.COMPILE_SOURCE, (_SOURCE,)),
    (Part.EXECUTE_DATA, (_SOURCE, b"data")),
)
_FILES = {
    Part.COMPILE_COMMAND: "compile.sh",
    Part.EXECUTE_COMMAND: "execute.sh",
    Part.EXECUTE_INPUT: "execute.in",
}


class Keep:
    """A new folder; a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises Rejected if it is there already, or cannot be made."""
        try:
            path.mkdir(mode=0o700)
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileExistsError:
            raise Rejected(
                f"--keep: {str(path)!r} exists; give a folder that is to be made", field="--keep"
            ) from None
        except OSError as error:
            raise Rejected(
                f"--keep: {str(path)!r} cannot be made: {error.strerror}", field="--keep"
            ) from error

    def close(self) -> None:
        os.close(self._fd)

    def keep_inputs(self, pulled: Pulled) -> None:
        """Raises OSError."""
        spec = pulled.spec
        given = {part: Written.of_file(pulled.folder / part) for part in spec.parts}
        for part, content in given.items():
            if part is not Part.CASES:
                self._copy(_GIVEN, str(part), content)
        self._keep_cases(pulled)
        for part, folder in _ARCHIVES:
            if part in given:
                self._unpack(given[part].path, folder, pulled)
        for part, name in _FILES.items():
            if part in given and not (spec.cases and part is Part.EXECUTE_INPUT):
                self._copy(_SOURCE, name, given[part])

    def _keep_cases(self, pulled: Pulled) -> None:
        at, path = 0, pulled.folder / Part.CASES
        for (number, _), case in zip(pulled.cases, pulled.spec.cases, strict=True):
            for kind, size in (("in", case.stdin_bytes), ("expected", case.expect_bytes)):
                content = Written(size=size, beginning=size, path=path, first=at)
                self._copy(_GIVEN, f"case{number}.{kind}", content)
                at += size

    def _unpack(self, archive: Path, folder: Sequence[bytes], pulled: Pulled) -> None:
        room_bytes, room_files = room_of(pulled.spec)
        uid = os.geteuid()
        top_fd = open_folder(self._fd, folder, uid)
        try:
            unpack(str(archive), top_fd, uid, max_bytes=room_bytes, max_entries=room_files)
        except BadArchive:
            return  # it is kept as it was given, and why it is refused is how its task has ended
        finally:
            os.close(top_fd)

    def keep_outputs(self, recorded: End, replayed: End) -> None:
        """As far as they are known without a gap. Raises OSError."""
        for folder, end in ((_RECORDED, recorded), (_REPLAYED, replayed)):
            runs = [(str(stage), run) for stage, run in end.runs.items()]
            runs += [(f"case{case.number}", case.run) for case in end.cases if case.run]
            for of, run in runs:
                for channel, output in run.outputs.items():
                    self._copy(folder, f"{of}.{channel}", output)

    def _copy(self, folder: bytes, name: str, content: Written) -> None:
        folder_fd = open_folder(self._fd, (folder,), os.geteuid())
        try:
            fd = create_file(folder_fd, name.encode(), os.geteuid())
        finally:
            os.close(folder_fd)
        with open(fd, "wb") as target, content.open() as source:
            left = content.beginning
            while piece := source.read(min(left, _COPY_BYTES)):
                target.write(piece)
                left -= len(piece)
