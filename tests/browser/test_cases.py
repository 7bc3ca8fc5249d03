"""Cases in the pages: how a wrong answer is shown, and how cases are given in the form."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Watch
from tests.browser.test_first_task import shown_task
from tests.browser.test_jobs import ask
from tests.browser.test_options import fill_command
from tests.cluster.harness import Khala

NUMBERS = "".join(f"{number}\n" for number in range(1, 41))
PASTED = "=== small\n1 2\n---\n3\n=== large\n20 30\n---\n51\n"
ADD = "read a b; echo $((a + b))"


def case(name: str, stdin: str, expected: str) -> dict[str, object]:
    return {"name": name, "stdin": {"text": stdin}, "expect": {"stdout": {"text": expected}}}


def judge(khala: Khala, command: str, *cases: dict[str, object], mode: str = "tokens") -> str:
    spec = {
        "stages": {"execute": {"command": command, "limits": {"wall_s": 20}}},
        "cases": cases,
        "check": {"mode": mode},
    }
    task = str(ask(khala, "/tasks", spec)["id"])
    khala.wait_done(task)
    return task


@pytest.fixture(scope="module")
def judged(khala: Khala) -> str:
    return judge(
        khala,
        "cat",
        case("equal", "a\n", "a\n"),
        case("one line", NUMBERS, NUMBERS.replace("\n20\n", "\ntwenty\n")),
        case("blanks", "a  b \n", "a b\n"),
        case("end", "3", "3\n"),
        mode="exact",
    )


def cases(page: Page) -> Locator:
    return page.get_by_test_id("case")


def opened(page: Page) -> Locator:
    return page.get_by_test_id("case-detail")


def test_first_wrong_case_is_open_on_its_difference(page: Page, judged: str) -> None:
    page.goto(f"/tasks/{judged}")
    expect(page.get_by_test_id("task-headline")).to_have_text("1 of 4 cases was accepted.")
    expect(page.get_by_test_id("score")).to_have_text("1 of 4 points")
    expect(cases(page)).to_have_count(4)
    expect(opened(page)).to_have_count(1)
    diff = opened(page).get_by_test_id("diff")
    expect(diff.locator("[data-kind=changed]")).to_have_text(re.compile(r"twenty.*20"))
    expect(diff.locator("mark")).to_have_text(["twenty", "20"])
    expect(diff.locator(".fold")).to_have_text(["16 equal lines", "17 equal lines"])
    with page.expect_download() as waiting:
        opened(page).get_by_role("link", name="Download what it wrote").click()
    assert waiting.value.path().read_text() == NUMBERS

    # By the keyboard alone: the next one is one Tab away from the one that is closed.
    page.get_by_role("button", name="one line").press("Enter")
    expect(opened(page)).to_have_count(0)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="blanks")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="blanks")).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_test_id("diff-blanks")).to_be_visible()
    expect(opened(page).locator("mark")).to_have_text(["b", "·b·"])
    # What is marked stands in its line, and does not break it.
    rows = opened(page).get_by_test_id("diff").locator("tbody tr")
    [height] = set(rows.evaluate_all("rows => rows.map(row => row.offsetHeight)"))
    assert height < 30


def test_cases_are_narrowed_by_their_verdict(page: Page, judged: str) -> None:
    page.goto(f"/tasks/{judged}")
    filters = page.get_by_test_id("case-filters")
    expect(filters.get_by_role("link")).to_have_text(
        [
            re.compile(f"{word} {count}")
            for word, count in (("All", 4), ("Accepted", 1), ("Wrong form", 2), ("Wrong answer", 1))
        ]
    )
    filters.get_by_role("link", name=re.compile("Wrong form")).click()
    expect(cases(page)).to_have_count(2)
    expect(cases(page).nth(1)).to_contain_text("line 1: a line end is missing after “3”")
    page.reload()  # the address holds the filter
    expect(cases(page)).to_have_count(2)
    filters.get_by_role("link", name=re.compile("All")).click()
    expect(cases(page)).to_have_count(4)


def test_only_output_is_shown_beside_what_was_expected(page: Page, khala: Khala) -> None:
    task = khala.submit(execute_command="echo 41", execute_standard="42\n")
    khala.wait_done(task)
    page.goto(f"/tasks/{task}")
    expect(page.locator("[data-verdict]")).to_have_attribute("data-verdict", "WA")
    expect(page.get_by_test_id("task-headline")).to_have_text(
        "Not the expected output: line 1: expected “42”, got “41”."
    )
    expect(page.get_by_test_id("diff").locator("mark")).to_have_text(["2", "1"])


def test_form_takes_cases_and_gives_them_back(page: Page, khala: Khala) -> None:
    fill_command(page, ADD)
    page.get_by_text("Cases", exact=True).click()
    expect(page.get_by_label("Execute Input", exact=True)).to_have_count(0)
    page.get_by_text("Paste many cases").click()
    expect(page.get_by_test_id("take-cases")).to_be_disabled()
    page.locator("#pasted_cases").fill(PASTED)
    page.get_by_role("button", name="Add 2 cases").click()
    expect(page.locator("#case_0_name")).to_be_focused()
    expect(page.locator("#case_1_name")).to_have_value("large")
    page.get_by_test_id("add-case").click()
    expect(page.locator("#case_2_stdin")).to_be_focused()
    page.get_by_role("button", name="Remove case 3").click()
    expect(page.locator("#case_1_name")).to_be_focused()
    page.locator("#case_1_weight").fill("3")
    page.get_by_label("Judged by").select_option("lines")
    page.get_by_test_id("submit-task").click()

    first = shown_task(page)
    expect(page.get_by_test_id("score")).to_have_text("1 of 4 points")
    expect(opened(page).locator("mark")).to_have_text(["1", "0"])

    page.get_by_test_id("rerun").click()
    expect(page.locator("#case_0_name")).to_have_value("small")
    expect(page.locator("#case_1_weight")).to_have_value("3")
    expect(page.get_by_label("Judged by")).to_have_value("lines")
    page.locator("#case_1_expected").fill("50\n")
    page.get_by_test_id("submit-task").click()
    expect(page.get_by_test_id("task-headline")).to_have_text("All 2 cases were accepted.")
    assert shown_task(page) != first


def test_fault_of_a_case_stands_at_its_field(page: Page, watch: Watch) -> None:
    watch.failed_requests_are_meant = True
    fill_command(page, ADD)
    page.get_by_text("Cases", exact=True).click()
    page.get_by_test_id("add-case").click()
    page.locator("#case_1_weight").fill("half")
    page.get_by_test_id("submit-task").click()
    expect(page.locator("#case_1_weight")).to_be_focused()
    expect(page.locator("#case_1_weight-problem")).to_contain_text("whole number")

    page.locator("#case_1_weight").fill("1000001")
    page.locator("#case_0_name").fill("n" * 65)
    page.get_by_test_id("submit-task").click()
    expect(page.locator("#case_0_name")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#case_0_name-problem")).to_contain_text("1 to 64 characters")
    expect(page.locator("#case_0_name-problem")).to_contain_text("n" * 65)
    expect(page.locator("#case_1_weight-problem")).to_contain_text("1000000")
    expect(page.get_by_test_id("send-error")).to_contain_text("stands at its field")


def test_refused_timeout_of_a_document_is_in_the_summary(page: Page, watch: Watch) -> None:
    watch.failed_requests_are_meant = True
    fill_command(page, "true")
    page.get_by_test_id("options").locator("summary").click()
    page.locator("#name").fill("slow")
    page.get_by_label("Execute Timeout", exact=True).fill("2000000000")
    page.get_by_test_id("submit-task").click()
    problems = page.get_by_test_id("problems")
    expect(problems).to_be_focused()
    expect(problems).to_contain_text("--wall-max")
    problems.get_by_role("link", name="Execute Timeout").click()
    expect(page.locator("#execute_timeout")).to_be_focused()
    expect(page.locator("#execute_timeout-problem")).to_contain_text("2000000000")


def test_array_of_the_form_is_a_job(page: Page, khala: Khala) -> None:
    fill_command(page, "echo $KHALA_ARRAY_INDEX")
    page.get_by_test_id("options").locator("summary").click()
    page.locator("#array").fill("3-7:2%2")
    page.locator("#name").fill("odd ones")
    page.locator("#require").fill("os=linux")
    page.get_by_test_id("submit-task").click()
    expect(page.get_by_test_id("job-name")).to_have_text("odd ones")
    expect(page.get_by_test_id("job-state")).to_have_attribute("data-state", "succeeded")
    expect(page.locator("td.index")).to_have_text(["3", "5", "7"])
