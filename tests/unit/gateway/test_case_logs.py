"""`/logs` of a task with cases: each is a program of its own, and all of them are its log."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from khala.model.cases import Case
from khala.model.live import Channel, Section
from khala.model.outcome import CaseOutcome, Ending, Outcome, Reason, StageOutcome, StreamRef
from khala.model.spec import Stage
from tests.store.samples import a_lease, a_task, finish_item
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.test_v2_logs import COMPILE, NDJSON, SSE, Written, next_line, records_of


def case(number: int) -> Section:
    return Section(Stage.EXECUTE, number)


class WithCases(Written):
    """One that has three."""

    async def begin(self) -> None:
        task = a_task(lease=a_lease())
        cases = tuple(Case(name=name) for name in "abc")
        task = replace(task, spec=replace(task.spec, cases=cases))
        await self._memory.tasks.insert_if_new([task])
        self.id = task.id

    async def judge(self, *outputs: bytes) -> None:
        kept = b"".join(outputs)
        outcome = Outcome(
            ending=Ending.SUCCEEDED,
            reason=Reason.OK,
            stage=Stage.EXECUTE,
            execute=StageOutcome(reason=Reason.OK, exit_code=0),
            cases=tuple(
                CaseOutcome(execute=StageOutcome(reason=Reason.OK, stdout_bytes=len(each)))
                for each in outputs
            ),
            case_outputs=StreamRef(size_bytes=len(kept), inline=kept),
        )
        await self._memory.tasks.finish_if_attempt([finish_item(self.id, 1, outcome)])
        await self._tell()


@pytest.fixture
async def task(site: Site) -> WithCases:
    written = WithCases(site)
    await written.begin()
    return written


async def test_cases_follow_each_other_from_the_first_byte_to_the_end(
    site: Site, task: WithCases
) -> None:
    await task.write(b"compiled\n", section=COMPILE)
    await task.write(b"on", section=case(1))
    async with site.http.get(task.url("?follow=true"), headers=NDJSON) as answer:
        assert (await next_line(answer))["text"] == "compiled\n"
        first = await next_line(answer)
        assert (first["id"], first["case"], first["text"]) == ("1.execute/1.2.0", 1, "on")
        # The second one is silent; that the first is over is known when the third speaks.
        await task.write(b"e", 2, section=case(1))
        assert (await next_line(answer))["text"] == "e"
        await task.write(b"three", section=case(3))
        third = await next_line(answer)
        assert (third["case"], third["text"]) == (3, "three")
        await task.judge(b"one", b"", b"three!")
        rest = await records_of(answer)
    assert [record.get("text") for record in rest] == ["!", None]
    assert rest[-1]["state"] == "succeeded"


async def test_one_of_them_by_its_number(site: Site, task: WithCases) -> None:
    await task.write(b"one", section=case(1))
    await task.write(b"two", section=case(2))
    await task.write(b"oops", section=case(2), channel=Channel.STDERR)
    async with site.http.get(task.url("?case=2&follow=true"), headers=SSE) as answer:
        first = (await answer.content.readuntil(b"\n\n")).decode()
        while "data:" not in first:
            first = (await answer.content.readuntil(b"\n\n")).decode()
        assert json.loads(first.partition("data: ")[2])["text"] == "two"
        await task.judge(b"one", b"two", b"three")
        text = (await answer.read()).decode()
    assert "three" not in text
    assert "event: end" in text


@pytest.mark.parametrize("recorded", [False, True])
async def test_a_range_of_one(site: Site, task: WithCases, recorded: bool) -> None:
    await task.write(b"first", section=case(1))
    await task.write(b"0123456789", section=case(2))
    if recorded:
        await task.judge(b"first", b"0123456789", b"third")
    url = task.url("?case=2&stream=stdout")
    async with site.http.get(url, headers={"Range": "bytes=3-5"}) as answer:
        assert (answer.status, await answer.read()) == (206, b"345")
        total = "10" if recorded else "*"
        assert answer.headers["Content-Range"] == f"bytes 3-5/{total}"


async def test_whoever_comes_back_goes_on_in_the_case_it_was_in(
    site: Site, task: WithCases
) -> None:
    await task.judge(b"one", b"two", b"three")
    for given, texts in {
        "1.execute/2.1.0": ["wo", "three"],
        "1.execute/3.5.0": [],
        "1.compile.0.0": ["one", "two", "three"],
    }.items():
        url = task.url(f"?follow=true&after={given}")
        async with site.http.get(url, headers=NDJSON) as answer:
            *chunks, end = await records_of(answer)
        assert ([each["text"] for each in chunks], end["event"]) == (texts, "end")


async def test_all_of_one_stream_is_that_of_all_cases(site: Site, task: WithCases) -> None:
    await task.judge(b"one\n", b"two\n", b"three\n")
    async with site.http.get(task.url("?stage=execute&stream=stdout")) as answer:
        assert (answer.status, await answer.read()) == (200, b"one\ntwo\nthree\n")


async def test_the_last_lines_are_those_of_the_last_that_wrote(site: Site, task: WithCases) -> None:
    await task.judge(b"one\n", b"two\n2\n", b"")
    async with site.http.get(task.url("?tail=1")) as answer:
        assert await answer.read() == b"2\n"


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("?case=4", 404, "has cases 1 to 3, 4 was asked for"),
        ("?stage=execute&stream=stdout&case=9", 404, "has cases 1 to 3, 9 was asked for"),
        ("?after=1.execute/7.0.0", 404, "has cases 1 to 3, 7 was asked for"),
        ("?stage=execute&stream=stdout&offset=2", 400, "is 3 cases; say with case=1 to 3"),
    ],
)
async def test_what_there_is_not(
    site: Site, task: WithCases, query: str, status: int, says: str, recorded: bool
) -> None:
    if recorded:
        await task.judge(b"one", b"two", b"three")
    async with site.http.get(task.url(query)) as answer:
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["field"]) == (status, "case")
        assert says in problem["detail"]
