"""Every setting of every role, one row each.

A row's key is its place in the TOML file; its flag and its environment variable follow from the
flag. Whatever shows or reads settings (options, `config`, docs/configuration.md) reads this table,
so a new setting is one row here and one field in `khala.config.settings`.
"""

from __future__ import annotations

import os

from khala.config.setting import ALL, E, G, J, Setting, port
from khala.config.table_kept import AUDIT, BACKUPS, QUOTAS, RETENTION
from khala.config.table_node import GENERAL, SERVERS
from khala.config.values import Kind, Value
from khala.model.limits import MIB, SLOTS_MAX
from khala.model.spec import Network


def _limit(key: str, kind: Kind, default: Value, text: str) -> Setting:
    """A limit of stages; the flag follows from the key."""
    minimum, maximum = _LIMIT_BOUNDS[kind]
    return Setting(
        key=f"limits.{key}",
        flag=f"--{key.replace('_', '-')}",
        kind=kind,
        default=default,
        help=text,
        roles=(G,),
        minimum=minimum,
        maximum=maximum,
    )


_LIMIT_BOUNDS: dict[Kind, tuple[float, float]] = {
    Kind.SIZE: (64 * 1024, 1 << 40),
    Kind.INT: (4, 4_000_000),
    Kind.NUMBER: (0.01, 1024),
    Kind.SECONDS: (1, 31_536_000),
}


_RAISED = "Follows a larger default by itself."
EXECUTOR = (
    Setting(
        key="executor.slots",
        flag="--slots",
        kind=Kind.INT,
        default=len(os.sched_getaffinity(0)),
        auto=True,
        default_text="auto, the number of processors",
        help="Tasks that run at the same time.",
        roles=(E,),
        minimum=1,
        maximum=SLOTS_MAX,
    ),
    Setting(
        key="executor.warm_jails",
        flag="--warm-jails",
        kind=Kind.INT,
        default=2 * len(os.sched_getaffinity(0)),
        auto=True,
        default_text="auto, two per processor",
        help="Jails made ahead, one per slot at the most; each idles with about 4 MiB. 0: none.",
        roles=(E,),
        minimum=0,
        maximum=SLOTS_MAX,
    ),
    Setting(
        key="executor.expose",
        flag="--expose",
        kind=Kind.LIST,
        default=(),
        help="Host directories that tasks see, read-only; DIR, or DIR:AT to show it at another"
        " path. Their bin goes to the front of PATH.",
        roles=(E,),
    ),
    Setting(
        key="executor.images",
        flag="--image",
        kind=Kind.LIST,
        default=(),
        table=True,
        help="Root file systems that tasks may name: NAME=PATH of a directory or squashfs file.",
        roles=(E,),
    ),
    Setting(
        key="executor.resources",
        flag="--resource",
        kind=Kind.LIST,
        default=(),
        default_text="the processors and the memory of the host, and its free disk",
        table=True,
        help="What tasks may ask for: NAME=AMOUNT, such as gpu=2, or cpus=3.5, memory=6GiB"
        " and disk=100GiB to offer less than there is.",
        roles=(E,),
    ),
    Setting(
        key="executor.labels",
        flag="--label",
        kind=Kind.LIST,
        default=(),
        default_text="arch, os and executor, its name",
        table=True,
        help="Labels that tasks may require, avoid or prefer: KEY=VALUE.",
        roles=(E,),
    ),
    Setting(
        key="executor.allow_degraded",
        flag="--allow-degraded",
        kind=Kind.SWITCH,
        default=False,
        help="Run tasks where there are no cgroups: several limits then do not hold.",
        roles=(E,),
    ),
    Setting(
        key="executor.allow_network",
        flag="--allow-network",
        kind=Kind.TEXT,
        default=Network.LOOPBACK.value,
        choices=(Network.LOOPBACK.value, Network.FULL.value),
        help="The most that tasks may ask for. full is this host's own network, its loopback"
        " services included.",
        roles=(E,),
    ),
    Setting(
        key="executor.uid_base",
        flag="--task-uid-base",
        kind=Kind.INT,
        default=1_900_000_000,
        help="Slot i runs tasks as this uid plus i; the range must belong to nobody.",
        roles=(E,),
        minimum=65536,
        maximum=4_000_000_000,
    ),
    Setting(
        key="executor.drain",
        flag="--drain",
        kind=Kind.SECONDS,
        default=10.0,
        help="How long a stop waits for running tasks before it hands them back.",
        roles=(E,),
        minimum=0,
        maximum=86400,
    ),
    Setting(
        key="executor.compile_cache",
        flag="--compile-cache",
        kind=Kind.SIZE,
        default=1024 * MIB,
        help="Disk for the results of compile stages, which are not run twice; 0 turns it off.",
        roles=(E,),
        minimum=0,
        maximum=1 << 40,
    ),
    Setting(
        key="executor.blob_cache",
        flag="--blob-cache",
        kind=Kind.SIZE,
        default=1024 * MIB,
        help="Disk for large files of tasks, which are fetched once for all that share them.",
        roles=(E,),
        minimum=0,
        maximum=1 << 40,
    ),
    Setting(
        key="nsjail.bin",
        flag="--nsjail-bin",
        kind=Kind.PATH,
        default=None,
        default_text="the one inside the file",
        help="Another nsjail program.",
        roles=(E,),
    ),
)
LIMITS = (
    _limit(
        "wall_max",
        Kind.SECONDS,
        86400.0,
        "Longest a stage may run; what a time-out of 0 (no limit) means.",
    ),
    _limit("cpus", Kind.NUMBER, 1.0, "Processors a stage may use."),
    _limit("cpus_max", Kind.NUMBER, 16.0, f"The most that a task may ask for. {_RAISED}"),
    _limit("pids", Kind.INT, 128, "Processes and threads of a stage."),
    _limit("pids_max", Kind.INT, 4096, f"The most that a task may ask for. {_RAISED}"),
    _limit("compile_memory", Kind.SIZE, 1024 * MIB, "Memory of the compile stage."),
    _limit("execute_memory", Kind.SIZE, 512 * MIB, "Memory of the execute stage."),
    _limit("memory_max", Kind.SIZE, 4096 * MIB, f"The most that a stage may ask for. {_RAISED}"),
    _limit("output", Kind.SIZE, 64 * MIB, "Standard output, and standard error, of a stage."),
    _limit("output_max", Kind.SIZE, 256 * MIB, f"The most that a stage may ask for. {_RAISED}"),
    _limit("file_size", Kind.SIZE, 256 * MIB, "The largest single file a stage may write."),
    _limit("file_size_max", Kind.SIZE, 2048 * MIB, f"The most that a stage may ask for. {_RAISED}"),
    _limit("disk", Kind.SIZE, 256 * MIB, "Bytes of the work directory, sources included."),
    _limit("disk_max", Kind.SIZE, 2048 * MIB, f"The most that a stage may ask for. {_RAISED}"),
    _limit("disk_files", Kind.INT, 16384, "Files and directories in the work directory."),
    _limit("disk_files_max", Kind.INT, 262144, f"The most that a stage may ask for. {_RAISED}"),
)
#: Defaults of stages and the maximum each is held against.
MAXIMUM_OF = {
    "limits.cpus": "limits.cpus_max",
    "limits.pids": "limits.pids_max",
    "limits.compile_memory": "limits.memory_max",
    "limits.execute_memory": "limits.memory_max",
    "limits.output": "limits.output_max",
    "limits.file_size": "limits.file_size_max",
    "limits.disk": "limits.disk_max",
    "limits.disk_files": "limits.disk_files_max",
}
GATEWAY = (
    Setting(
        key="gateway.bind",
        flag="--http-bind",
        kind=Kind.TEXT,
        default="127.0.0.1",
        help="Address of the HTTP API and the page; beyond loopback it needs --token-file or"
        " --users-only.",
        roles=(G,),
    ),
    port("gateway.port", "--http-port", 7000, (G,), "The HTTP API and the page."),
    Setting(
        key="gateway.max_body",
        flag="--max-body",
        kind=Kind.SIZE,
        default=64 * MIB,
        help="Largest request; a task's files travel in one.",
        roles=(J, G),
        minimum=MIB,
        maximum=2048 * MIB,
    ),
    Setting(
        key="gateway.max_blob",
        flag="--max-blob",
        kind=Kind.SIZE,
        default=1024 * MIB,
        help="Largest blob that is taken.",
        roles=(G,),
        minimum=MIB,
        maximum=1 << 40,
    ),
    Setting(
        key="gateway.token_file",
        flag="--token-file",
        kind=Kind.PATH,
        default=None,
        help="A secret of 16 or more characters, mode 0600; API calls must then carry it, or a"
        " user's token. Whoever has it may do everything.",
        roles=(G,),
    ),
    Setting(
        key="gateway.users_only",
        flag="--users-only",
        kind=Kind.SWITCH,
        default=False,
        help="Let only users in, by their personal tokens.",
        roles=(G,),
    ),
    Setting(
        key="gateway.legacy_api",
        flag="--legacy-api",
        kind=Kind.TEXT,
        default="auto",
        help="KV2's addresses (/api/task and so on): auto asks for what the others ask for, open"
        " for nothing although there are users (on a loopback address alone), off removes them.",
        choices=("auto", "open", "off"),
        roles=(G,),
    ),
    Setting(
        key="gateway.requests_per_second",
        flag="--requests-per-second",
        kind=Kind.NUMBER,
        default=0.0,
        help="What one user, or all who are unknown at one address, may send to this gateway; 0: no"
        " limit.",
        minimum=0,
        maximum=1_000_000,
        roles=(G,),
    ),
    Setting(
        key="gateway.request_burst",
        flag="--request-burst",
        kind=Kind.INT,
        default=100,
        help="Requests that may come at once after a silence, where --requests-per-second is a"
        " limit.",
        minimum=1,
        maximum=1_000_000,
        roles=(G,),
    ),
    Setting(
        key="gateway.host_names",
        flag="--host-names",
        kind=Kind.LIST,
        default=(),
        help="Further host names under which browsers may reach the page.",
        roles=(G,),
    ),
)
LOG = (
    Setting(
        key="log.level",
        flag="--log-level",
        kind=Kind.TEXT,
        default="info",
        help="Lowest level that is written to stderr.",
        roles=ALL,
        choices=("debug", "info", "warning", "error"),
    ),
    Setting(
        key="log.format",
        flag="--log-format",
        kind=Kind.TEXT,
        default="auto",
        help="One event a line: console on a terminal, else json.",
        roles=ALL,
        choices=("auto", "console", "json"),
    ),
    Setting(
        key="log.file",
        flag="--log-file",
        kind=Kind.PATH,
        default=None,
        help="A file that gets every event too, as JSON; reopened when it was moved away.",
        roles=ALL,
    ),
)
SECTIONS = {
    "General": GENERAL,
    "Servers": SERVERS,
    "Executor and sandbox": EXECUTOR,
    "Limits of a stage": LIMITS,
    "HTTP": GATEWAY,
    "Retention": RETENTION,
    "Backups": BACKUPS,
    "Quotas of a user": QUOTAS,
    "Audit log": AUDIT,
    "Log": LOG,
}
SETTINGS: tuple[Setting, ...] = tuple(each for section in SECTIONS.values() for each in section)
BY_KEY = {setting.key: setting for setting in SETTINGS}
#: What a command needs that asks a judicator of this host, or one named by --join.
_ASKING = ("data_dir", "bind", "join", "secret_file", "rpc.port", "log.level", "log.format")
#: What a sandbox is set up by that runs no tasks of others.
_OF_JAILS = (
    "executor.expose",
    "executor.images",
    "executor.allow_degraded",
    "executor.allow_network",
    "executor.uid_base",
    "nsjail.bin",
)
#: Commands that read less than everything; `up` and `config` take every setting.
_READ_BY_COMMAND = {
    "bench": ("executor.slots", "log.level", "log.format"),
    "replay": _OF_JAILS,
    "status": _ASKING,
    "admin": _ASKING,
    "gc": (*_ASKING, *(each.key for each in RETENTION)),
}


def settings_of(command: str) -> list[Setting]:
    """What a role or another command reads, in the table's order."""
    if command in _READ_BY_COMMAND:
        return [each for each in SETTINGS if each.key in _READ_BY_COMMAND[command]]
    return [each for each in SETTINGS if command not in ALL or command in each.roles]
