"""One row of the table of settings, and who reads it."""

from __future__ import annotations

from msgspec import Struct

from khala.config.values import Kind, Value

J, E, G = "judicator", "executor", "gateway"
ALL = (J, E, G)


class Setting(Struct, frozen=True, kw_only=True):
    key: str
    flag: str
    kind: Kind
    default: Value
    help: str
    #: Roles that read it; `up` takes them all.
    roles: tuple[str, ...]
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    #: `auto` is a value too, and means the default.
    auto: bool = False
    #: A list of NAME=VALUE, which a file may also write as a table.
    table: bool = False
    #: Another flag for the same, in roles where no setting of that name stands in its way.
    alias: str = ""
    #: What the documentation shows where the default depends on the host.
    default_text: str | None = None

    @property
    def env(self) -> str:
        return "KHALA_" + self.flag.removeprefix("--").replace("-", "_").upper()


def port(key: str, flag: str, default: int, roles: tuple[str, ...], text: str) -> Setting:
    return Setting(
        key=key,
        flag=flag,
        kind=Kind.PORT,
        default=default,
        help=text,
        roles=roles,
        minimum=1,
        maximum=65535,
    )
