"""What `logs` shows of what it is sent."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from khala.model.live import Channel
from khala.protocol.v2 import LogChunk
from roles.client.output import Output, since_of


@pytest.mark.parametrize("seconds", [1e300, 86_400.0 * 10**7])
def test_an_age_beyond_all_dates_leaves_nothing_out(seconds: float) -> None:
    assert since_of(seconds) is None


def test_an_age_is_a_date() -> None:
    since = since_of(60.0)
    assert since is not None
    assert 59 < (datetime.now(UTC) - since).total_seconds() < 120


def chunk(case: int, text: str) -> LogChunk:
    return LogChunk(
        id="1.execute.0.0",
        attempt=1,
        stage="execute",
        case=case,
        stream=Channel.STDOUT,
        offset=0,
        text=text,
    )


@pytest.mark.parametrize(
    ("name_cases", "said"), [(True, "khala: case 1\nkhala: case 2\n"), (False, "")]
)
def test_it_is_said_once_whose_bytes_come(
    name_cases: bool, said: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    output = Output(name_cases=name_cases)
    for case, text in ((0, "compiled\n"), (1, "on"), (1, "e\n"), (2, "two\n"), (0, "again\n")):
        output.show(chunk(case, text))
    written = capfdbinary.readouterr()
    assert (written.out, written.err.decode()) == (b"compiled\none\ntwo\nagain\n", said)
