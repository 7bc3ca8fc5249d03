"""The list of the second API: its parameters, its cursor, and cancelling."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from datetime import UTC, datetime

import msgspec
import pytest
from msgspec.structs import replace

from khala.model.errors import Rejected
from khala.model.ids import TaskId
from khala.model.outcome import Reason
from khala.model.task import TaskState
from khala.protocol.rpc import Place, TaskRows
from roles.gateway.cursors import CURSOR_CHARS, Cursor, read_cursor, write_cursor
from roles.gateway.filters import FilterSpec, filter_of
from roles.gateway.queries import parse_query
from roles.gateway.v2_list import LIMIT_MAX, ListQuery, list_of, page_of
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.test_kv2 import task_of


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("q", ""),
        ("q", "   "),
        ("q", "a\0b"),
        ("q", "a\tb"),
        ("q", "q" * 201),
        ("q", "a b c d e f g h i"),
        ("label", "no-equals"),
        ("label", ",".join(f"k{n}=v" for n in range(40))),
        ("name", ""),
        ("name", "n" * 129),
        ("node", "a b"),
        ("state", ",".join(["queued"] * 9)),
        ("id_prefix", "abc"),
        ("id_prefix", "ABCDEF"),
        ("id_prefix", "abcdef\n"),
        ("job", "ab" * 9 + "0" * 6 + "\n"),
        ("node", "executor.1\n"),
        ("reason", "bad_luck"),
        ("sort", "user"),
        ("finished_after", "yesterday"),
        ("limit", "0"),
        ("limit", str(LIMIT_MAX + 1)),
        ("limit", "ten"),
        ("user", "-1"),
        ("user", ""),
        ("user", "null"),
        ("created_after", ""),
        ("created_before", "10"),
        ("created_before", "2026-11-24T25:00:00Z"),
        ("created_before", "2026-11-24T00:00:00+00:99"),
        ("state", "done"),
        ("state", ""),
        ("order", "up"),
        ("created_after", "soon"),
        ("cursor", "x"),
        ("cursor", "!" * 30),
        ("cursor", "A" * 100),
        ("cursor", "OTk5OTk5OTk5OTk5OTk5OTk5OTkuYQ"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(name: str, value: str) -> None:
    def read() -> None:
        query = parse_query({name: value}, ListQuery)
        filter_of(query)
        read_cursor(query.cursor or "", {name: value})

    with pytest.raises(Rejected) as refused:
        read()
    assert refused.value.field == name
    assert name in refused.value.message


@pytest.mark.parametrize("name", ["a\0b", "line\nbreak"])
def test_a_name_that_no_task_has_is_refused(name: str) -> None:
    with pytest.raises(Rejected, match=r"^name: .*control characters"):
        filter_of(parse_query({"name": name}, ListQuery))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("   ", "q: it is blank; write a part of a name, an id or key=value, or leave it out"),
        ("a b c d e f g h i", "q: 9 words are more than the maximum of 8; leave some out"),
        ("a\nb", "q: neither names nor ids nor labels have control characters or line breaks"),
        ("q" * 201, "q: a text of at most 200 characters is needed; 'qqq"),
    ],
)
def test_a_search_that_finds_nothing_says_why(text: str, said: str) -> None:
    with pytest.raises(Rejected) as refused:
        filter_of(parse_query({"q": text}, ListQuery))
    assert refused.value.message.startswith(said)


def test_a_search_is_its_words() -> None:
    for text, words in (
        ("alpha", ("alpha",)),
        ("  Alpha  hw=3 alpha hw=3 ", ("Alpha", "hw=3", "alpha")),
        ("a b c d e f g h", tuple("abcdefgh")),
        ("ä" * 200, ("ä" * 200,)),
    ):
        assert filter_of(parse_query({"q": text}, ListQuery)).words == words
    assert filter_of(ListQuery()).words == ()


def test_what_is_given_twice_counts_once() -> None:
    given = FilterSpec(
        state=(TaskState.FAILED, TaskState.QUEUED, TaskState.FAILED),
        reason=(Reason.MEMORY, Reason.MEMORY),
        label=("hw=3", "hw=3"),
    )
    found = filter_of(given)
    assert found.states == (TaskState.FAILED, TaskState.QUEUED)
    assert (found.reasons, found.labels) == ((Reason.MEMORY,), ("hw=3",))


def test_parameters_become_a_query() -> None:
    query = list_of(
        parse_query(
            {"user": "7", "state": "failed,queued,failed", "order": "oldest", "limit": "9"},
            ListQuery,
        ),
        None,
    )
    assert (query.user, query.limit, query.oldest_first) == (7, 9, True)
    assert query.states == (TaskState.FAILED, TaskState.QUEUED)


async def test_a_list_by_priority_leads_back(site: Site) -> None:
    for priority in (0, 3, -3, 3, 0):
        site.judicator.add(replace(task_of(), user=93, priority=priority))
    seen: list[tuple[str, int]] = []
    back = None
    url = "/api/v2/tasks?user=93&limit=2&sort=priority&order=oldest"
    while url:
        async with site.http.get(site.url(url)) as response:
            assert response.status == 200
            body = await response.json()
            link, back = response.links.get("next"), response.links.get("prev")
        seen += [(row["id"], row["priority"]) for row in body["items"]]
        url = str(link["url"]).removeprefix(site.base) if link else ""
    assert [priority for _, priority in seen] == [3, 3, 0, 0, -3]
    assert seen[0] < seen[1]
    assert seen[2] < seen[3]
    assert back is not None
    async with site.http.get(str(back["url"])) as response:
        rows = (await response.json())["items"]
    assert [(row["id"], row["priority"]) for row in rows] == seen[2:4]


async def test_pages_follow_their_cursor(site: Site) -> None:
    tasks = [site.judicator.add(msgspec.structs.replace(task_of(), user=91)) for _ in range(5)]
    seen: list[str] = []
    url = "/api/v2/tasks?user=91&limit=2"
    while url:
        async with site.http.get(site.url(url)) as response:
            assert response.status == 200
            body = await response.json()
            link = response.links.get("next")
        seen += [row["id"] for row in body["items"]]
        assert (link is None) == (body["next_cursor"] is None)
        url = str(link["url"]).removeprefix(site.base) if link else ""
    assert seen == sorted((task.id for task in tasks), reverse=True)


def test_a_cursor_belongs_to_its_filters() -> None:
    place = Place(at=datetime(2026, 11, 24, 0, 4, 8, 615000, tzinfo=UTC), id=TaskId("ab" * 12))
    place = replace(place, priority=-100)
    for backward in (False, True):
        cursor = Cursor(place=place, backward=backward)
        text = write_cursor(cursor, {"user": "7", "limit": "9"})
        assert len(text) <= CURSOR_CHARS
        assert read_cursor(text, {"user": "7", "limit": "3", "cursor": text}) == cursor
        for given in ({}, {"user": "8"}, {"user": "7", "state": "failed"}):
            with pytest.raises(Rejected, match="cursor"):
                read_cursor(text, given)
        far = replace(place, priority=10**20)
        made = write_cursor(Cursor(place=far, backward=backward), {})
        with pytest.raises(Rejected, match="cursor"):
            read_cursor(made, {})
        for broken in (text[:-4], text[4:], "A" + text[1:], text.swapcase(), ""):
            with pytest.raises(Rejected, match="cursor"):
                read_cursor(broken, {"user": "7"})


def test_a_list_by_date_has_the_cursors_of_an_older_gateway() -> None:
    """While gateways are renewed one by one, pages of a list come from several."""
    payload = b"f19ab6a7a567." + b"ab" * 12
    text = urlsafe_b64encode(hashlib.sha256(b"\n" + payload).digest()[:9] + payload).decode()
    cursor = read_cursor(text, {})
    assert cursor.place.priority == 0
    assert write_cursor(cursor, {}) == text.rstrip("=")


async def test_pages_lead_back(site: Site) -> None:
    tasks = [site.judicator.add(msgspec.structs.replace(task_of(), user=92)) for _ in range(5)]
    newest = sorted((task.id for task in tasks), reverse=True)

    async def page(cursor: str | None) -> tuple[list[str], str | None, str | None]:
        query = {"user": "92", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        async with site.http.get(site.url("/api/v2/tasks"), params=query) as response:
            body = await response.json()
            assert ("prev" in response.links) is (body["prev_cursor"] is not None)
        ids = [row["id"] for row in body["items"]]
        return ids, body["next_cursor"], body["prev_cursor"]

    first, forward, none = await page(None)
    assert (first, none) == (newest[:2], None)
    second, forward, back = await page(forward)
    assert second == newest[2:4]
    last, none, back = await page(forward)
    assert (last, none) == (newest[4:], None)
    for expected in (newest[2:4], newest[:2]):
        ids, forward, back = await page(back)
        assert ids == expected
    assert back is None
    assert (await page(forward))[0] == newest[2:4]


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("backward", [False, True])
def test_a_page_on_which_nothing_was_found_leads_back_to_what_was(
    order: str, *, backward: bool
) -> None:
    """The row that its cursor is behind is the first on the other side."""
    given = {"q": "x", "order": order}
    at = Cursor(
        place=Place(at=datetime(2026, 11, 24, tzinfo=UTC), id=TaskId("ab" * 12)), backward=backward
    )
    query = parse_query(given, ListQuery)
    reached = Place(at=datetime(2026, 11, 23, tzinfo=UTC), id=TaskId("cd" * 12))
    for beyond in (reached, None):
        found = TaskRows(tasks=[], more=beyond is not None, next=beyond)
        page = page_of(found, query, at, given)
        on, back = page.next_cursor, page.prev_cursor
        if backward:
            on, back = back, on
        assert (on is None) == (beyond is None)
        assert back is not None
        turned = read_cursor(back, given)
        step = 1 if (order == "oldest") is not backward else -1
        assert turned.backward is not backward
        assert (turned.place.at, int(turned.place.id, 16)) == (
            at.place.at,
            int(at.place.id, 16) + step,
        )
        looked = list_of(query, turned)
        assert looked.oldest_first is not list_of(query, at).oldest_first


async def test_cancelling_twice_is_cancelling_once(site: Site) -> None:
    task = site.judicator.add(task_of())
    for _ in range(2):
        async with site.http.post(site.url(f"/api/v2/tasks/{task.id}/cancel")) as response:
            assert response.status == 200
            assert (await response.json())["state"] == "cancelled"
    async with site.http.post(site.url(f"/api/v2/tasks/{'0' * 24}/cancel")) as response:
        assert response.status == 404


async def test_the_members_of_a_job_are_found_by_its_id(site: Site) -> None:
    site.judicator.add(task_of())
    job = "6b04d4787d852fb9eb000000"
    assert list_of(parse_query({"job": job}, ListQuery), None).id_prefix == job[:18]
    both = {"job": job, "id_prefix": job[:18] + "00"}
    assert list_of(parse_query(both, ListQuery), None).id_prefix == job[:18] + "00"
    both["id_prefix"] = job[:8]
    assert list_of(parse_query(both, ListQuery), None).id_prefix == job[:18]
    for wrong in ({"job": job[:-1] + "1"}, {"job": job, "id_prefix": "ffffff"}):
        with pytest.raises(Rejected, match=r"^(job|id_prefix): "):
            list_of(parse_query(wrong, ListQuery), None)


async def test_a_page_that_has_not_changed_is_not_sent_again(site: Site) -> None:
    site.judicator.add(task_of())
    url = site.url("/api/v2/tasks")
    async with site.http.get(url) as response:
        tag = response.headers["ETag"]
    async with site.http.get(url, headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
        assert response.headers["ETag"] == tag
    site.judicator.add(task_of())
    async with site.http.get(url, headers={"If-None-Match": tag}) as response:
        assert response.status == 200
        assert response.headers["ETag"] != tag
