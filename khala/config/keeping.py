"""What a cluster may be told to keep: bounds of the hosts' options, in seconds and bytes.

Judicators check it as well as gateways, because a gateway may be somebody else's by now.
"""

from __future__ import annotations

from khala.config.setting import Setting
from khala.config.table_kept import AUDIT, BACKUPS, RETENTION
from khala.model.errors import Rejected
from khala.model.keeping import ToldKeeping
from khala.model.retention import KEPT_S

_DAY_S = 86400.0
_BY_KEY: dict[str, Setting] = {each.key: each for each in (*RETENTION, *AUDIT, *BACKUPS)}


def _bounds(key: str, factor: float = 1) -> tuple[float, float]:
    setting = _BY_KEY[key]
    return (setting.minimum or 0) * factor, (setting.maximum or 0) * factor


#: By field, least and most. Of retention 0 is no bound; less than an hour is kept anyway.
RETENTION_BOUNDS = {
    "age_s": (KEPT_S, _bounds("retention.age")[1]),
    "count": _bounds("retention.count"),
    "size_bytes": _bounds("retention.bytes"),
}
BOUNDS = {"audit_s": _bounds("audit.days", _DAY_S), "backups_kept": _bounds("backups.kept")}


def check_keeping(told: ToldKeeping) -> None:
    """Raise `Rejected`."""
    for name, bounds in RETENTION_BOUNDS.items():
        if value := getattr(told.retention, name):
            _check(value, bounds, f"/keeping/retention/{name}")
    for name, bounds in BOUNDS.items():
        if (value := getattr(told, name)) is not None:
            _check(value, bounds, f"/keeping/{name}")


def _check(value: float, bounds: tuple[float, float], field: str) -> None:
    least, most = bounds
    if not least <= value <= most:  # what is no number is in no range
        raise Rejected(f"{field}: from {least:g} to {most:g}, {value:g} was given", field=field)
