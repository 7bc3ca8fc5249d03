"""What a task document says of its place among others: name, labels, priority, and what it needs
of its executor."""

from __future__ import annotations

import re
from collections.abc import Mapping

from khala.config.values import kind_of_resource
from khala.model.limits import (
    AMOUNT_MAX,
    LABEL_KEY_CHARS,
    LABEL_VALUE_CHARS,
    LABELS,
    NAME_CHARS,
    RESOURCES,
)
from khala.model.wants import CPU_STEPS, CPUS, Amounts, Wants
from khala.protocol.v2 import IssueCode, Placement, Scalar
from roles.gateway.issues import Issues, step
from roles.gateway.spec import TaskSpecV2
from roles.gateway.spec_limits import read_amount

_KEY = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._/-]{{0,{LABEL_KEY_CHARS - 1}}}\Z")


def check_wants(spec: TaskSpecV2, issues: Issues) -> Wants:
    place = spec.placement
    return Wants(
        amounts=_check_amounts(spec.resources, issues),
        require=check_labels(place.require, "/placement/require", issues),
        avoid=check_labels(place.avoid, "/placement/avoid", issues),
        prefer=check_labels(place.prefer, "/placement/prefer", issues),
    )


def _check_amounts(given: Mapping[str, Scalar], issues: Issues) -> Amounts:
    if len(given) > RESOURCES:
        detail = f"{len(given)} resources are more than {RESOURCES}"
        issues.add("/resources", IssueCode.TOO_MANY, detail, limit=RESOURCES, given=len(given))
        return {}
    found: Amounts = {}
    for name, value in given.items():
        at = "/resources" + step(name[: LABEL_KEY_CHARS + 1])
        if not _KEY.match(name):
            detail = (
                f"a resource's name is 1 to {LABEL_KEY_CHARS} letters, digits, '.', '_', '-' and"
                " '/'; see the nodes' resources"
            )
            issues.add(at, IssueCode.INVALID_VALUE, detail, given=name)
            continue
        kind = kind_of_resource(name)
        steps = CPU_STEPS if name == CPUS else 1
        amount = read_amount(kind, value, (0, AMOUNT_MAX // steps), at, issues)
        if amount is not None:
            found[name] = round(amount * steps)
    return {name: amount for name, amount in found.items() if amount}


def view_amounts(amounts: Mapping[str, int]) -> dict[str, float]:
    """As a task document has them."""
    return {
        name: amount / CPU_STEPS if name == CPUS else amount for name, amount in amounts.items()
    }


def view_placement(wants: Wants) -> Placement:
    return Placement(require=wants.require, avoid=wants.avoid, prefer=wants.prefer)


def check_name(name: str, issues: Issues) -> None:
    if len(name) > NAME_CHARS:
        detail = f"{len(name)} characters are more than the {NAME_CHARS} of a name"
        issues.add("/name", IssueCode.TOO_LONG, detail, limit=NAME_CHARS, given=len(name))
    elif not name.isprintable():
        detail = "a name has no control characters and no line breaks"
        issues.add("/name", IssueCode.INVALID_VALUE, detail, given=name)


def check_labels(
    labels: Mapping[str, str | int | float | bool | None], pointer: str, issues: Issues
) -> dict[str, str]:
    """Those that can be had; whatever is wrong with the others goes to `issues`."""
    if len(labels) > LABELS:
        detail = f"{len(labels)} labels are more than {LABELS}"
        issues.add(pointer, IssueCode.TOO_MANY, detail, limit=LABELS, given=len(labels))
        return {}
    checked: dict[str, str] = {}
    for key, value in labels.items():
        at = pointer + step(key[: LABEL_KEY_CHARS + 1])
        if not _KEY.match(key):
            detail = (
                f"a label's key is 1 to {LABEL_KEY_CHARS} letters, digits, '.', '_', '-' and '/',"
                " and begins with a letter or a digit"
            )
            issues.add(at, IssueCode.INVALID_VALUE, detail, given=key)
        elif not isinstance(value, str):
            detail = 'the value of a label is a text; write "1", not 1'
            issues.add(at, IssueCode.WRONG_TYPE, detail, given=value)
        elif len(value) > LABEL_VALUE_CHARS:
            detail = f"{len(value)} characters are more than the {LABEL_VALUE_CHARS} of a value"
            issues.add(at, IssueCode.TOO_LONG, detail, limit=LABEL_VALUE_CHARS, given=len(value))
        elif not value.isprintable():
            detail = "a label's value has no control characters and no line breaks"
            issues.add(at, IssueCode.INVALID_VALUE, detail, given=value)
        else:
            checked[key] = value
    return checked
