"""The task list: what its filters find, its pages, and what changes without a reload."""

from __future__ import annotations

import datetime
import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import BOUNDED_USER
from tests.cluster.harness import Khala


def rows(page: Page) -> Locator:
    return page.get_by_test_id("task-row")


def shown_ids(page: Page) -> list[str]:
    return [str(row.get_attribute("data-id")) for row in rows(page).all()]


def expect_settled(page: Page, count: int) -> None:
    """`count` rows, none of them left over from the view before."""
    expect(page.locator("[data-testid=tasks].dim")).to_have_count(0)
    expect(rows(page)).to_have_count(count)


def expect_live(page: Page) -> None:
    expect(page.get_by_test_id("live")).to_have_attribute("data-state", "live")


@pytest.fixture(scope="module")
def three(khala: Khala) -> list[str]:
    """Tasks of user 301, oldest first."""
    found = [khala.submit(user="301") for _ in range(3)]
    for task in found:
        khala.wait_done(task)
    return found


def test_filter_by_id_and_by_user(page: Page, three: list[str]) -> None:
    page.goto("/search")
    page.get_by_label("User Id", exact=True).fill("301")
    page.keyboard.press("Enter")
    expect_settled(page, 3)
    assert shown_ids(page) == three[::-1]

    page.get_by_label("Task Id", exact=True).fill(three[1].upper())
    page.get_by_role("button", name="Search", exact=True).click()
    expect_settled(page, 1)
    assert shown_ids(page) == [three[1]]

    page.reload()  # the address holds the filter
    expect_settled(page, 1)
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page).to_have_url(re.compile("/tasks$"))
    expect(page.get_by_label("Task Id", exact=True)).to_have_value("")


def test_filter_by_time(page: Page, three: list[str]) -> None:
    page.goto("/tasks?user=301")
    expect_settled(page, 3)
    hour = datetime.timedelta(hours=1)
    now = datetime.datetime.now(datetime.UTC)
    start, end = (page.get_by_label(label, exact=True) for label in ("Start Time", "End Time"))

    def search(first: datetime.datetime, last: datetime.datetime) -> None:
        start.fill(f"{first:%Y-%m-%dT%H:%M}")
        end.fill(f"{last:%Y-%m-%dT%H:%M}")
        page.get_by_role("button", name="Search", exact=True).click()

    search(now + hour, now + 2 * hour)
    expect(page.get_by_test_id("no-tasks")).to_contain_text("No task matches")
    search(now - hour, now + hour)
    expect_settled(page, 3)
    search(now + hour, now - hour)
    expect(page.get_by_text("The end is before the start.")).to_be_visible()


@pytest.mark.parametrize(
    ("label", "value", "said"),
    [
        ("Task Id", "xyz", "A task id has 24 hexadecimal digits, of which the first 6 will do"),
        ("User Id", "-1", "A user id is a whole number from 0 to 2147483647."),
    ],
)
def test_filter_that_cannot_match_says_so(page: Page, label: str, value: str, said: str) -> None:
    page.goto("/search")
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text(said)).to_be_visible()
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")


def test_pager_shows_every_task_once(page: Page, khala: Khala) -> None:
    submitted = [khala.submit(user="302") for _ in range(26)]
    page.goto("/tasks?user=302")
    expect(page.get_by_test_id("total")).to_have_text("26 tasks")
    pager = page.get_by_test_id("pager")
    pager.get_by_label("Rows").select_option("10")
    expect_settled(page, 10)
    seen = shown_ids(page)
    for number, count in ((2, 10), (3, 6)):
        pager.get_by_role("link", name="Next page").click()
        expect(pager.get_by_test_id("page")).to_have_text(f"Page {number}")
        expect_settled(page, count)
        seen += shown_ids(page)
    assert seen == submitted[::-1]
    expect(pager.get_by_role("link", name="Next page")).to_have_count(0)
    expect(page.get_by_test_id("total")).to_have_text("26 tasks")

    pager.get_by_role("link", name="Previous page").click()
    expect(pager.get_by_test_id("page")).to_have_text("Page 2")
    expect_settled(page, 10)
    assert shown_ids(page) == submitted[6:16][::-1]
    page.reload()  # the address holds the place
    expect_settled(page, 10)
    assert shown_ids(page) == submitted[6:16][::-1]
    pager.get_by_role("link", name="First page").click()
    expect_settled(page, 10)
    page.get_by_role("link", name=re.compile("Created")).click()
    expect(page.locator("th[aria-sort=ascending]")).to_be_visible()
    expect_settled(page, 10)
    assert shown_ids(page) == submitted[:10]


def test_the_urgent_come_first_when_asked_for(page: Page, khala: Khala) -> None:
    def submit(priority: int) -> str:
        task = {"user": 312, "priority": priority, "stages": {"execute": {"command": "true"}}}
        return str(khala.send("POST", "/api/v2/tasks?wait=60s", task)[1]["id"])

    low, none, high, other = (submit(priority) for priority in (-5, 0, 20, 20))
    page.goto("/tasks?user=312")
    expect_settled(page, 4)
    assert shown_ids(page) == [other, high, none, low]
    page.get_by_role("link", name=re.compile("^Priority")).click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Priority")
    expect_settled(page, 4)
    assert shown_ids(page) == [other, high, none, low]
    page.get_by_role("link", name=re.compile("^Created")).click()
    expect(page).to_have_url(re.compile("sort=priority&order=oldest"))
    expect_settled(page, 4)
    assert shown_ids(page) == [high, other, none, low]
    expect(page.get_by_test_id("priority")).to_have_text(["20", "20", "—", "-5"])
    expect(rows(page).first).to_contain_text(re.compile("user 312 · .+ · priority 20"))
    page.get_by_role("link", name=re.compile("^Priority")).click()
    expect_settled(page, 4)
    assert shown_ids(page) == [low, none, high, other]


def test_filter_by_what_tasks_are_called_and_how_they_ended(page: Page, khala: Khala) -> None:
    def submit(command: str, **more: object) -> str:
        task = {"user": 305, "stages": {"execute": {"command": command}}, **more}
        return str(khala.send("POST", "/api/v2/tasks?wait=60s", task)[1]["id"])

    wrong = submit(
        "echo 5",
        name="Alpha one",
        labels={"hw": "3"},
        expect={"stdout": {"text": "4"}},
    )
    failed = submit("exit 3", name="alpha two", labels={"hw": "3", "set": "a"})
    page.goto("/tasks?user=305")
    expect_settled(page, 2)
    # Where it ran is known of those that have ended, too.
    executor = page.locator(f"[data-id='{failed}']").get_by_test_id("executor").inner_text()
    assert executor == khala.explain(failed)["executor"]
    expect(page.locator(f"[data-id='{wrong}']")).to_contain_text("Wrong answer")
    expect(page.locator(f"[data-id='{failed}']")).to_contain_text("exit_nonzero")

    page.get_by_test_id("states").get_by_role("link", name="Failed", exact=True).click()
    expect_settled(page, 1)
    assert shown_ids(page) == [failed]
    expect(page.get_by_test_id("cancel-matching")).to_have_count(0)  # all have ended
    page.get_by_test_id("states").get_by_role("link", name="All", exact=True).click()
    expect_settled(page, 2)

    page.get_by_text("Name, label, executor, outcome").click()
    for label, value, expected in (
        ("Name", "ALPHA", [failed, wrong]),
        ("Label", "hw=3, set=a", [failed]),
        ("Executor", executor, [failed]),
    ):
        page.get_by_label(label, exact=True).fill(value)
        page.keyboard.press("Enter")
        expect_settled(page, len(expected))
        assert shown_ids(page) == expected
    page.get_by_label("Label", exact=True).fill("hw")
    page.keyboard.press("Enter")
    expect(page.locator("#filter-label-problem")).to_contain_text("KEY=value")
    page.get_by_label("Label", exact=True).fill("")
    page.get_by_label("Verdict", exact=True).select_option("WA")
    page.get_by_role("button", name="Search", exact=True).click()
    expect_settled(page, 1)
    page.reload()  # the address holds all of them
    expect_settled(page, 1)
    assert shown_ids(page) == [wrong]
    expect(page.get_by_label("Verdict", exact=True)).to_have_value("WA")
    page.goto("/tasks?user=305&reason=memory")
    expect(page.get_by_test_id("no-tasks")).to_contain_text("No task matches")


def test_one_field_finds_names_ids_and_labels(page: Page, khala: Khala) -> None:
    nowhere = {"user": 308, "placement": {"require": {"arch": "z80"}}}
    document = {**nowhere, "stages": {"execute": {"command": "true"}}}

    def submit(name: str, value: str) -> str:
        task = {**document, "name": name, "labels": {"words": value}}
        return str(khala.send("POST", "/api/v2/tasks", task)[1]["id"])

    first, second = submit("Alpha one", "3"), submit("alpha two (a.b)", "4")
    page.goto("/tasks?user=308")
    field = page.get_by_label("Search", exact=True)
    expect_settled(page, 2)
    for text, expected in (
        ("ALPHA", [second, first]),
        ("alpha  words=3", [first]),
        ("(a.b", [second]),
        (first.upper(), [first]),
        (f"{second[:23]} two", [second]),
    ):
        field.fill(text)
        page.keyboard.press("Enter")
        expect_settled(page, len(expected))
        assert shown_ids(page) == expected
    page.reload()  # the address holds it
    expect_settled(page, 1)
    expect(field).to_have_value(f"{second[:23]} two")

    field.fill("a b c d e f g h i")
    page.keyboard.press("Enter")
    expect(page.locator("#filter-q-problem")).to_contain_text("8 words at most; this has 9")
    expect(field).to_be_focused()
    field.fill("nowhere")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("no-tasks")).to_contain_text("No task matches")
    expect(page.get_by_test_id("no-tasks")).to_contain_text("a whole label such as hw=3")
    page.goto("/tasks?q=words%3D4")
    expect_settled(page, 1)
    page.get_by_test_id("cancel-matching").click()
    expect(page.get_by_test_id("matching")).to_contain_text(
        "1 task found by “words=4” has not ended"
    )
    page.get_by_role("button", name="Cancel 1 task").click()
    expect(page.locator(f"[data-id='{second}'][data-status='7']")).to_be_visible()
    assert khala.task(first)["done"] is False
    khala.call("DELETE", f"/api/task?id={first}")


def test_search_stays_in_reach_where_the_other_fields_are_folded_away(
    page: Page, three: list[str]
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/tasks")
    user = page.get_by_label("User Id", exact=True)
    expect(page.get_by_label("Search", exact=True)).to_be_visible()
    expect(user).to_be_hidden()
    page.get_by_label("Search", exact=True).fill(three[1])
    page.get_by_role("button", name="Search", exact=True).click()
    expect_settled(page, 1)
    expect(user).to_be_hidden()  # it is not in force
    page.get_by_role("button", name="More filters").click()
    user.fill("302")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("no-tasks")).to_contain_text("No task matches")
    user.fill("x")
    page.get_by_role("button", name="More filters").click()
    expect(user).to_be_hidden()
    page.get_by_role("button", name="Search", exact=True).click()
    expect(user).to_be_focused()  # what is wrong is not left folded away


def test_list_of_a_user_shows_its_quota(page: Page, khala: Khala) -> None:
    page.goto(f"/tasks?user={BOUNDED_USER}")
    quota = page.get_by_test_id("quota")
    expect(quota).to_contain_text("0 of 2")
    expect(quota).not_to_contain_text("Tasks that run")  # nobody bounds them
    nowhere = {"user": BOUNDED_USER, "placement": {"require": {"arch": "z80"}}}
    document = {**nowhere, "stages": {"execute": {"command": "true"}}}
    waiting = [khala.send("POST", "/api/v2/tasks", document)[1]["id"] for _ in range(2)]
    expect(quota).to_contain_text("2 of 2, used up")
    with page.expect_response(re.compile("quota.user=307")) as answered:
        page.goto("/tasks?user=307")
    assert answered.value.json()["queued"]["limit"] is None
    expect(page.get_by_test_id("no-tasks")).to_be_visible()
    expect(quota).to_have_count(0)
    for task in waiting:
        khala.call("DELETE", f"/api/task?id={task}")


def test_new_tasks_and_states_arrive_without_a_reload(page: Page, khala: Khala) -> None:
    page.goto("/tasks?user=303")
    expect(page.get_by_test_id("no-tasks")).to_be_visible()
    expect_live(page)
    first = khala.submit(user="303", execute_command="sleep 2", execute_timeout="30")
    expect(rows(page)).to_have_count(1)
    expect(page.locator(f"[data-id='{first}'][data-status='3']")).to_be_visible()
    expect(page.locator(f"[data-id='{first}'][data-status='5']")).to_be_visible()

    # What somebody may be about to click is not pushed down: the new one is announced.
    second = khala.submit(user="303")
    newer = page.get_by_test_id("show-newer")
    expect(newer).to_contain_text("1 newer")
    assert shown_ids(page) == [first]
    newer.click()
    expect_settled(page, 2)
    assert shown_ids(page) == [second, first]
    expect(newer).to_have_count(0)


def test_cancel_from_the_list_asks_first(page: Page, khala: Khala) -> None:
    command = "trap 'echo tidy; exit' TERM; echo begun; while :; do sleep 0.1; done"
    task = khala.submit(user="304", execute_command=command, execute_timeout="90")
    page.goto("/tasks?user=304")
    row = page.locator(f"[data-id='{task}']")
    cancel = row.get_by_role("button", name="Cancel")
    cancel.click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_test_id("confirm")).to_have_count(0)
    assert khala.task(task)["done"] is False

    cancel.click()
    page.get_by_test_id("confirm").get_by_label("Reason", exact=True).fill("wrong input")
    page.get_by_test_id("confirm").get_by_label("Time to end").select_option("1 minute")
    page.get_by_test_id("confirm-yes").click()
    expect(row).to_have_attribute("data-status", "7")
    expect(row).to_contain_text("Cancelled")
    expect(cancel).to_have_count(0)
    assert khala.wait_done(task)["status"] == 7
    row.get_by_role("link").click()
    expect(page.get_by_test_id("task-headline")).to_have_text("Cancelled: wrong input.")
    said = khala.call("GET", f"/api/v2/tasks/{task}")[1]["cancellation"]
    assert said == {"by": "", "reason": "wrong input", "grace_s": 60}
