"""Ends that speak other versions of the protocol part with a sentence."""

from __future__ import annotations

import pytest

from khala.model.errors import Rejected
from khala.protocol.wire import SUBPROTOCOL, require_spoken


def test_the_same_version_is_spoken() -> None:
    require_spoken(SUBPROTOCOL, "the judicator at j1:4000")


@pytest.mark.parametrize("other", [None, "khala.v2"])
def test_another_version_is_told_what_to_do(other: str | None) -> None:
    with pytest.raises(Rejected, match=r"j1:4000 does not speak khala.v1.*upgrade whichever"):
        require_spoken(other, "the judicator at j1:4000")
