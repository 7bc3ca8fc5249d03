"""The Python client of a gateway: typed, asynchronous, with a blocking face.

    from khala.client import Khala, NewTask, StageOf

    with Khala("http://127.0.0.1:7000") as khala:
        task = khala.run(NewTask(execute=StageOf("echo hello")))
        print(task.state, khala.read_output(task.id, "stdout"))

Under asyncio `AsyncKhala` has the same methods to await. Both raise the errors of
`khala.model.errors`, whose three families say what may be done next: `Rejected` must not be
repeated, `Unavailable` may be, after `OutcomeUnknown` one has to look first. A submission carries a
key of its own, so it is repeated safely whatever happens to the connection.
"""

from khala.client.access import AuditFilter
from khala.client.aio import AsyncKhala
from khala.client.events import Event, EventQuery
from khala.client.jobs import NewJob
from khala.client.logs import LogEvent, LogQuery, bytes_of
from khala.client.request import (
    ArtifactsOf,
    CaseOf,
    Limits,
    NewTask,
    PlacementOf,
    RetryOf,
    Source,
    StageOf,
    TaskPatch,
)
from khala.client.sync import Khala
from khala.model.access import Role
from khala.model.errors import (
    AlreadyDone,
    Changed,
    Conflict,
    KhalaError,
    NotFound,
    NotPossible,
    NotWaiting,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    TooLarge,
    Unavailable,
)
from khala.protocol.v2 import (
    Artifact,
    NewToken,
    NewUser,
    NewUserToken,
    Page,
    Result,
    Row,
    Stage,
    Task,
)

__all__ = [
    "AlreadyDone",
    "Artifact",
    "ArtifactsOf",
    "AsyncKhala",
    "AuditFilter",
    "CaseOf",
    "Changed",
    "Conflict",
    "Event",
    "EventQuery",
    "Khala",
    "KhalaError",
    "Limits",
    "LogEvent",
    "LogQuery",
    "NewJob",
    "NewTask",
    "NewToken",
    "NewUser",
    "NewUserToken",
    "NotFound",
    "NotPossible",
    "NotWaiting",
    "OutcomeUnknown",
    "Page",
    "PlacementOf",
    "RateLimited",
    "Rejected",
    "Result",
    "RetryOf",
    "Role",
    "Row",
    "Source",
    "Stage",
    "StageOf",
    "Task",
    "TaskPatch",
    "TooLarge",
    "Unavailable",
    "bytes_of",
]
