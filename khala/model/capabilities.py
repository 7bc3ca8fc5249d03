"""Which fields of a task its readers must know: one number, so that none is ignored in silence.

A cluster is renewed process by process. Whoever is older than a field decodes the task without it:
it would run without its variables, or keep none of its files, and report success. So each field of
a task has a number, a task carries the highest one of the fields that it makes use of (`needs`),
an executor says the highest one that it knows (`speaks`), and a judicator gives tasks only to
executors that speak them, if it speaks them itself. Tasks that use nothing new go everywhere.

A change that adds fields for executors takes the next number: a row below for each of them, and
`CAPABILITY` with it. A number is never given a new meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from khala.model.cases import Case, Check
from khala.model.depends import Predecessor
from khala.model.retry import Retry
from khala.model.spec import ArtifactRequest, Network, StageLimits, TaskOptions, shape_of
from khala.model.wants import Wants

#: What the programs of this version know: the highest number below.
CAPABILITY = 5
#: That a task is a member of a job is written into its environment.
MEMBER_SINCE = 3
#: That files are kept of the cases of a task, too.
CASE_ARTIFACTS_SINCE = 5

#: Of every field that a task may leave out: the number it came with. 0: from before the numbers,
#: or of no concern to executors.
KNOWN_SINCE: dict[type[Struct], dict[str, int]] = {
    TaskOptions: {
        "environment": 1,
        "stage_environment": 1,
        # Whoever has the image knows the field.
        "image": 0,
        "network": 4,
        "cache": 1,
        "artifacts": 1,
        "name": 0,
        "labels": 0,
        "priority": 0,
        "needs": 0,
        "retry": 0,
        "depends_on": 0,
        "max_crashes": 0,
        "queue_ttl_s": 0,
        "retention_s": 0,
        "rerun_of": 0,
        "traceparent": 0,
        "cases": 2,
        "check": 2,
        "check_limits": 2,
        "stop_on_first_failure": 2,
        # Whoever does not know them has nothing that could be wanted.
        "wants": 0,
    },
    StageLimits: {"cpus": 0, "disk_bytes": 0, "disk_files": 0, "on_output_limit": 1},
    ArtifactRequest: {},
    Predecessor: {"on": 0},
    Retry: {"on": 0, "backoff_s": 0, "backoff_max_s": 0},
    Wants: {"amounts": 0, "require": 0, "avoid": 0, "prefer": 0},
    Case: {"stdin_bytes": 0, "expect_bytes": 0, "weight": 0},
    Check: {"mode": 0, "absolute": 0, "relative": 0},
}


def _default_of(field: FieldInfo) -> object:
    return field.default if field.default_factory is NODEFAULT else field.default_factory()


#: The same with what stands for "left out".
_LEFT_OUT: dict[type[Struct], list[tuple[str, int, object]]] = {
    kind: [(field.name, numbers.get(field.name, 0), _default_of(field)) for field in fields(kind)]
    for kind, numbers in KNOWN_SINCE.items()
}


#: Of no task that is older.
_NETWORK_SINCE = KNOWN_SINCE[TaskOptions]["network"]


def shapes_of(
    images: Sequence[str], speaks: int, networks: Sequence[Network] = ()
) -> tuple[str, ...]:
    """Of the tasks that an executor can run which has those images, offers those networks and
    speaks so much, as far as this process knows them itself: it would pass others on without what
    it does not know."""
    known = range(min(speaks, CAPABILITY) + 1)
    return tuple(
        shape_of(image, needs, network)
        for image in ("", *images)
        for needs in known
        for network in (Network.LOOPBACK, Network.FULL)
        if network is Network.LOOPBACK or (network in networks and needs >= _NETWORK_SINCE)
    )


def needs_of(options: TaskOptions) -> int:
    """What an executor must speak for a task with these options."""
    needs = _highest(options, TaskOptions)
    if options.cases and options.artifacts is not None:
        needs = max(needs, CASE_ARTIFACTS_SINCE)
    return needs


def _highest(value: Struct, kind: type[Struct]) -> int:
    found = 0
    for name, since, left_out in _LEFT_OUT[kind]:
        given = getattr(value, name)
        if given != left_out:
            found = max(found, since, *(_highest(each, type(each)) for each in _structs_in(given)))
    return found


def _structs_in(value: object) -> Iterable[Struct]:
    if isinstance(value, Struct):
        return (value,)
    if isinstance(value, dict):
        value = tuple(value.values())
    elif not isinstance(value, tuple):
        return ()
    return tuple(each for each in value if isinstance(each, Struct))
