"""Every address leads somewhere, among them the ones that KV2's users have bookmarked."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch
from tests.cluster.harness import Khala

NO_TASK = "0" * 24


@pytest.mark.parametrize(
    ("old", "new", "heading"),
    [
        ("/", "/tasks", "Tasks"),
        ("/frame", "/tasks", "Tasks"),
        ("/search", "/tasks", "Tasks"),
        ("/add", "/tasks/new", "New task"),
        ("/get", "/tasks", "Tasks"),
        ("/executors", "/executors", "Executors"),
        ("/judicators", "/judicators", "Judicators"),
    ],
)
def test_old_addresses_reach_their_pages(
    page: Page, khala: Khala, old: str, new: str, heading: str
) -> None:
    page.goto(old)
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    expect(page).to_have_url(khala.url + new)


def test_old_address_of_a_task(page: Page, khala: Khala) -> None:
    task = khala.submit()
    page.goto(f"/get?id={task}")
    expect(page).to_have_url(f"{khala.url}/tasks/{task}")
    expect(page.get_by_test_id("task-id")).to_have_text(task)
    expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "succeeded")


def test_cluster_pages_show_who_is_there(page: Page) -> None:
    page.goto("/cluster")
    executors, judicators = (page.get_by_test_id(name) for name in ("executors", "judicators"))
    expect(executors.locator("tbody tr[data-state=online]")).to_have_count(1)
    expect(judicators.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_test_id("cluster-health")).to_have_text("Ready")
    page.get_by_role("link", name="Executors", exact=True).click()
    expect(judicators).to_have_count(0)
    expect(executors).to_be_visible()
    page.go_back()
    expect(judicators).to_be_visible()


def test_task_that_does_not_exist(page: Page, watch: Watch) -> None:
    watch.failed_requests_are_meant = True
    page.goto(f"/tasks/{NO_TASK}")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no task with this id")


def test_address_that_does_not_exist(page: Page, watch: Watch) -> None:
    page.goto("/tasks/nonsense")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")
    page.get_by_role("main").get_by_role("link", name="To the tasks").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Tasks")

    watch.failed_requests_are_meant = True
    response = page.goto("/no/such/page")
    assert response is not None
    assert response.status == 404
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")
