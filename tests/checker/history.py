"""What a faulty run left: what clients were told, what really ran, and what stood at the end.

One clock for all of it, in seconds. A request is a stretch of time, from `at` to `until`; one that
was never answered, or whose answer says that the outcome is unknown, is `INFO`: it may take effect
at any moment after `at`, and is never evidence that something did not happen. Runs are told by the
tasks themselves, so they are seen by nobody's grace.

A history is lines of JSON in a file, so that it can be judged again when the checker has learned
something, and on another machine than it was made on.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

ENDED = frozenset({"succeeded", "failed", "cancelled", "error"})

Result = Literal["ok", "fail", "info"]
OK: Result = "ok"
#: Refused, and nothing happened.
FAIL: Result = "fail"
INFO: Result = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A task as it was shown."""

    state: str
    attempt: int
    #: Of the submission that the task says it came from.
    nonce: str
    reason: str | None = None
    #: What its recorded run printed.
    output: str | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What all requests have in common."""

    client: str
    at: float
    #: None: no answer came.
    until: float | None
    result: Result
    status: int = 0

    @property
    def over(self) -> float:
        return math.inf if self.until is None else self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit(Call):
    """One try of one submission; tries of the same submission share the nonce."""

    nonce: str
    #: What was asked for: the same words, the same request.
    request: str
    key: str | None = None
    task: str | None = None
    #: Refused because the key stands for another request.
    conflict: bool = False
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Call):
    task: str
    #: Who was asked.
    via: str
    #: None, with result `ok`: there is no such task.
    seen: Seen | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Call):
    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Written by the run itself, on the executor's host."""

    executor: str
    task: str
    attempt: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The run came to its own end."""

    executor: str
    task: str
    attempt: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    name: str
    at: float
    healed: float
    #: The longest time without an accepted submission that is promised; None: only reported.
    submit_gap_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """A number that may only grow: the session of an executor, the term of the leader."""

    kind: str
    owner: str
    value: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A reader that was asked for everything when all was over."""

    via: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """A task when all was over, as one reader shows it."""

    via: str
    task: str
    seen: Seen
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A node when all was over."""

    node: str
    at: float
    ready: bool
    slots: int
    free: int
    #: Processes, mounts, cgroups, spooled results that should be gone.
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What the system itself counted: tasks `accepted`, `ended`, `open`."""

    counter: str
    value: int
    #: False: a process that counts was killed, so some are missing.
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """So many tasks of a user may run at a time."""

    user: str
    running: int


Event = (
    Submit | Read | Cancel | Start | End | Fault | Fence | Asked | Final | Settled | Counted | Quota
)
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Submit,
        Read,
        Cancel,
        Start,
        End,
        Fault,
        Fence,
        Asked,
        Final,
        Settled,
        Counted,
        Quota,
    )
}
Kind = TypeVar("Kind")


class History:
    """Events in any order; claims sort what they need."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events = list(events)

    def add(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    # ---- files ------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        with path.open("w") as file:
            for event in self.events:
                fields = dataclasses.asdict(event)
                file.write(json.dumps({"event": type(event).__name__, **fields}) + "\n")

    @classmethod
    def load(cls, path: Path) -> History:
        with path.open() as file:
            return cls(_events(file))


def _events(lines: Iterable[str]) -> Iterator[Event]:
    for line in lines:
        fields = json.loads(line)
        kind = _KINDS[fields.pop("event")]
        if isinstance(fields.get("seen"), dict):
            fields["seen"] = Seen(**fields["seen"])
        if "left" in fields:
            fields["left"] = tuple(fields["left"])
        event: Event = kind(**fields)
        yield event
