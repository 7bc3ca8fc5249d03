"""The two faces of the client: what can be awaited can be called."""

from __future__ import annotations

import inspect

import pytest

from khala.client import AsyncKhala, Khala

#: What is read piece by piece there is read as a whole here.
WHOLE = {
    name: name.replace("open_", "read_") for name in dir(AsyncKhala) if name.startswith("open_")
}
#: Set, and not called.
ATTRIBUTES = {"on_progress"}
METHODS = [name for name in dir(AsyncKhala) if name[0] != "_" and name not in ATTRIBUTES]


@pytest.mark.parametrize("name", METHODS)
def test_the_blocking_client_has_every_method(name: str) -> None:
    blocking = getattr(Khala, WHOLE.get(name, name))
    asked = inspect.signature(getattr(AsyncKhala, name)).parameters
    taken = inspect.signature(blocking).parameters
    assert {each: found.default for each, found in taken.items()} == {
        each: found.default for each, found in asked.items()
    }
