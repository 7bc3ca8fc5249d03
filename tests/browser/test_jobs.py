"""Jobs in the pages: how far they are, their tasks by state and by page, how they are stopped."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Response, expect

from tests.browser.conftest import Watch
from tests.cluster.harness import Khala, wait_until

NO_JOB = "0" * 24
EVERY_THIRD_FAILS = "[ $((KHALA_ARRAY_INDEX % 3)) != 0 ]"


def ask(khala: Khala, path: str, document: object = None) -> dict[str, Any]:
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(
        f"{khala.url}/api/v2{path}", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, Any] = json.loads(response.read())
    return answer


def submit_array(khala: Khala, command: str, array: str, **fields: object) -> str:
    task = {"stages": {"execute": {"command": command}}}
    return str(ask(khala, "/jobs", {"task": task, "array": array, **fields})["id"])


def members(page: Page) -> Locator:
    return page.get_by_test_id("member")


def indexes(page: Page) -> list[int]:
    return [int(cell.inner_text()) for cell in page.locator("td.index").all()]


@pytest.fixture(scope="module")
def mixed(khala: Khala) -> str:
    """Twelve tasks, four of which failed."""
    job = submit_array(khala, EVERY_THIRD_FAILS, "0-11", name="every third fails")
    wait_until(lambda: ask(khala, f"/jobs/{job}")["done"], 120, "the job has ended")
    return job


def test_list_leads_to_a_job_and_its_counts_to_its_tasks(page: Page, mixed: str) -> None:
    page.goto("/tasks")
    page.get_by_role("link", name="Jobs", exact=True).click()
    row = page.locator(f"[data-testid=job-row][data-id='{mixed}']")
    expect(row).to_have_attribute("data-state", "failed")
    expect(row).to_contain_text("12 of 12 · 4 failed")
    expect(row.get_by_role("img")).to_have_attribute(
        "aria-label", "12 tasks: 8 succeeded, 4 failed"
    )
    row.get_by_role("link", name="every third fails").click()
    expect(page.get_by_test_id("job-headline")).to_have_text("4 of 12 tasks failed.")
    expect(members(page)).to_have_count(12)
    assert indexes(page) == list(range(12))

    filters = page.get_by_test_id("member-filters")
    expect(filters.get_by_role("link")).to_have_count(3)
    filters.get_by_role("link", name=re.compile("Failed")).click()
    expect(members(page)).to_have_count(4)
    assert indexes(page) == [0, 3, 6, 9]
    page.reload()  # the address holds the filter
    expect(members(page)).to_have_count(4)

    members(page).nth(1).get_by_role("link").click()
    expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "failed")
    expect(page.locator(".crumb")).to_contain_text("index 3")
    page.get_by_test_id("job").click()
    expect(page.get_by_test_id("job-id")).to_have_text(mixed)


def test_large_job_is_read_by_the_page_and_cancelled_as_one(page: Page, khala: Khala) -> None:
    job = submit_array(khala, "sleep 60", "0-99999", name="many")
    sizes: list[int] = []

    def measure(answer: Response) -> None:
        if f"/api/v2/jobs/{job}" in answer.url:
            sizes.append(len(answer.body()))

    page.on("response", measure)
    page.goto(f"/jobs/{job}")
    expect(page.get_by_test_id("job-headline")).to_have_text("0 of 100,000 tasks have ended.")
    expect(members(page)).to_have_count(100)
    page.get_by_test_id("member-pages").get_by_role("link", name="Next page").click()
    expect(members(page).first.locator("td.index")).to_have_text("100")
    page.get_by_test_id("member-pages").get_by_role("link", name="First page").click()
    expect(members(page).first.locator("td.index")).to_have_text("0")
    assert max(sizes) < 100_000

    page.get_by_test_id("cancel-job").click()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("cancel-job")).to_be_focused()
    page.get_by_test_id("cancel-job").click()
    expect(page.get_by_test_id("confirm")).to_contain_text("100,000 tasks have not ended")
    page.get_by_test_id("confirm").get_by_label("Reason", exact=True).fill("wrong input")
    page.get_by_test_id("confirm-yes").click()
    state = page.get_by_test_id("job-state")
    expect(state).to_have_attribute("data-state", "cancelled", timeout=60_000)
    expect(page.get_by_test_id("cancel-job")).to_have_count(0)
    expect(page.get_by_test_id("job-headline")).to_contain_text(
        "Cancelled: wrong input; 0 of 100,000"
    )
    expect(page.get_by_test_id("member-filters")).to_contain_text("Cancelled 100,000")
    assert ask(khala, f"/jobs/{job}")["stopped"] == "cancelled"


def test_progress_is_seen_without_a_reload(page: Page, khala: Khala) -> None:
    job = submit_array(khala, "sleep 0.5", "1-2000%4")
    page.goto(f"/jobs/{job}")
    headline = page.get_by_test_id("job-headline")
    expect(headline).to_have_text(re.compile(r"^[1-9][0-9]* of 2,000"), timeout=60_000)
    seen = headline.inner_text()
    expect(headline).not_to_have_text(seen, timeout=60_000)
    expect(page.get_by_test_id("job-pace")).to_contain_text("left", timeout=60_000)
    ask(khala, f"/jobs/{job}/cancel", {})
    expect(headline).to_contain_text("Cancelled;", timeout=60_000)
    expect(page.get_by_test_id("cancel-job")).to_have_count(0)


def test_job_that_does_not_exist(page: Page, watch: Watch) -> None:
    watch.failed_requests_are_meant = True
    page.goto(f"/jobs/{NO_JOB}")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no job with this id")
    page.get_by_role("link", name="To the jobs").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
