"""Every answer of the second API that a test of this ring gets is checked against the document
that the gateway serves, whatever the test itself looks at."""

from __future__ import annotations

import io
import json
import urllib.request
import urllib.response
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.contract import PREFIX, Contract


class _Checker(urllib.request.BaseHandler):
    """Part of an opener; sees each answer before it becomes an error or a result."""

    handler_order = 100

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        kind = response.headers.get("Content-Type", "")
        streamed = kind.startswith("text/event-stream") or "follow=" in request.selector
        if not request.selector.startswith(PREFIX) or streamed:
            return response
        body = response.read()
        self._contract.check(request.get_method(), request.full_url, response.status, kind, body)
        copy = urllib.response.addinfourl(
            io.BytesIO(body), response.headers, response.url, response.status
        )
        copy.msg = response.reason  # type: ignore[attr-defined]
        return copy


@contextmanager
def answers_checked(url: str) -> Iterator[None]:
    with urllib.request.urlopen(f"{url}/api/v2/openapi.json", timeout=30) as response:
        contract = Contract(json.load(response))
    urllib.request.install_opener(urllib.request.build_opener(_Checker(contract)))
    try:
        yield
    finally:
        urllib.request.install_opener(urllib.request.build_opener())
