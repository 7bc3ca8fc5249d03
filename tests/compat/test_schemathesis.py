"""Requests that nobody thought of, made of the document that the gateway serves: whatever is sent,
the answer is one of those that the document has, and never a failure of the server.

One seed is always the same, so that what a change breaks is seen where it was made; the other one
is new in each run and is printed. `KHALA_SCHEMATHESIS_SEED` repeats it.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from tests.compat.test_set_quotas import patch, until_in_force

FIXED = 20261124
FRESH = int(os.environ.get("KHALA_SCHEMATHESIS_SEED") or secrets.randbelow(1 << 32))
#: Of each operation, in each mode and for each seed.
EXAMPLES = int(os.environ.get("KHALA_SCHEMATHESIS_EXAMPLES", "8"))
#: Answers of a request that waits would be as late as it asks for.
WAIT = "0s"
#: An endless answer.
STREAMS = ("/api/v2/events",)
#: A first user would close the API to all other tests of this stack.
CLOSING = ("/api/v2/users",)
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
#: That what the document rules out is refused; of the seed that is always the same.
STRICT = "negative_data_rejection"
#: Says item by item what is wrong, and is right as a whole.
BATCH = "/api/v2/tasks/batch"


@pytest.fixture(scope="module")
def schema(stack: str) -> Iterator[schemathesis.BaseSchema]:
    """Quotas that came about by chance are not those of other tests; what is kept by chance is for
    a day no less than it was."""
    load_all_checks()
    yield schemathesis.openapi.from_url(f"{stack}/api/v2/openapi.json")
    assert patch(stack, None)[0] == 200
    until_in_force(stack)


@pytest.fixture(scope="module")
def task(stack: str) -> str:
    """One that has ended, with an artifact."""
    document = {
        "stages": {"execute": {"command": "echo x | tee out"}},
        "artifacts": {"collect": ["out"]},
    }
    request = urllib.request.Request(
        f"{stack}/api/v2/tasks?wait=60s",
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=90) as response:
        return str(json.load(response)["id"])


def operations(
    schema: schemathesis.BaseSchema,
) -> Iterator[schemathesis.APIOperation[Any, Any, Any, Any]]:
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        if found.ok().path not in (*STREAMS, *CLOSING):
            yield found.ok()


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("seed", [FIXED, FRESH], ids=["fixed", "fresh"])
@pytest.mark.timeout(300)
def test_answers_are_those_of_the_document(
    schema: schemathesis.BaseSchema, task: str, seed: int, mode: schemathesis.GenerationMode
) -> None:
    sys.stdout.write(f"KHALA_SCHEMATHESIS_SEED={seed}\n")
    checks: list[Any] = [CHECKS.get_one(name) for name in CHECKED]
    strict: list[Any] = [CHECKS.get_one(STRICT)] if seed == FIXED else []
    statuses: Counter[int] = Counter()

    def ask(case: schemathesis.Case[Any], known: bool) -> None:
        # HTTP takes blanks at the ends of a header away: the server never sees what was wrong.
        assume(all(str(value) == str(value).strip() for value in (case.headers or {}).values()))
        if known and "task_id" in case.path_parameters:
            case.path_parameters["task_id"] = task
        case.query.pop("ticket", None)  # one that is none is refused before all else
        if "wait" in case.query:
            case.query["wait"] = WAIT
        response = case.call(timeout=30)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=checks + (strict if case.path != BATCH else []))

    for operation in operations(schema):
        strategy: st.SearchStrategy[Any] = operation.as_strategy(generation_mode=mode)
        test = given(case=strategy, known=st.booleans())(ask)
        settings = hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        )
        try:
            hypothesis.seed(seed)(settings(test))()
        except hypothesis.errors.Unsatisfiable:
            # Nothing of an operation without parameters can be wrong.
            assert mode is schemathesis.GenerationMode.NEGATIVE, operation.label
    sys.stdout.write(f"{dict(statuses)}\n")
    assert statuses[200 if mode is schemathesis.GenerationMode.POSITIVE else 400]
