"""A place in the log of a task, as a reader is told it and gives it back.

One place stands for everything before it: all sections before this one, and its own two channels up
to an offset each. So it stays short however much there is, and a reader that comes back with the
last one it saw, to whichever gateway, is sent exactly what follows.
"""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

from khala.model.errors import Rejected
from khala.model.ids import AttemptNo
from khala.model.live import Channel, Section
from khala.model.spec import Stage

_PLACE = re.compile(
    r"(?P<attempt>\d{1,9})\.(?P<stage>compile|execute)(/(?P<case>\d{1,6}))?"
    r"\.(?P<stdout>\d{1,15})\.(?P<stderr>\d{1,15})(?P<end>\.end)?\Z",
    re.ASCII,
)


class LogPlace(Struct, frozen=True, kw_only=True):
    """What is said of it as text: `2.execute.4096.12`, with a case `2.execute/3.4096.12`."""

    #: 0: none has begun.
    attempt: AttemptNo = AttemptNo(0)
    section: Section = Section(Stage.COMPILE)
    stdout: int = 0
    stderr: int = 0
    #: Everything was sent, the end of it included.
    ended: bool = False

    def offset(self, channel: Channel) -> int:
        return self.stdout if channel is Channel.STDOUT else self.stderr

    def moved(self, channel: Channel, offset: int) -> LogPlace:
        if channel is Channel.STDOUT:
            return replace(self, stdout=offset)
        return replace(self, stderr=offset)

    def __str__(self) -> str:
        end = ".end" if self.ended else ""
        return f"{self.attempt}.{self.section}.{self.stdout}.{self.stderr}{end}"


def parse_place(text: str, field: str) -> LogPlace:
    found = _PLACE.match(text)
    if found is None:
        raise Rejected(
            f"{field}: an id of this log is needed, such as 1.execute.4096.0;"
            f" {text[:60]!r} was given",
            field=field,
        )
    return LogPlace(
        attempt=AttemptNo(int(found["attempt"])),
        section=Section(Stage(found["stage"]), int(found["case"] or 0)),
        stdout=int(found["stdout"]),
        stderr=int(found["stderr"]),
        ended=found["end"] is not None,
    )
