"""A page that stays open while the server goes away, and a server that asks for a token."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import RESTART_TIMEOUT_MS, Watch, killed_gateway, new_context
from tests.browser.test_first_task import shown_task
from tests.cluster.harness import Khala, running

TOKEN = "correct horse battery staple"


def test_page_survives_a_killed_gateway(page: Page, khala: Khala, watch: Watch) -> None:
    watch.failed_requests_are_meant = True
    page.goto("/tasks?user=501")
    live = page.get_by_test_id("live")
    expect(live).to_have_attribute("data-state", "live")
    with killed_gateway(khala):
        expect(live).to_have_attribute("data-state", "waiting")
        expect(live).to_contain_text("Live updates are off")
        expect(live).to_contain_text(re.compile(r"retry in \d+ s"))
        expect(live).to_have_attribute("data-state", "live", timeout=RESTART_TIMEOUT_MS)

    task = khala.submit(user="501")
    expect(page.locator(f"[data-id='{task}'][data-status='5']")).to_be_visible()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Khala]:
    """A Khala with a token, on which nobody has done anything yet."""
    folder = tmp_path_factory.mktemp("guarded")
    token_file = folder / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    with running(folder / "data", options=("--token-file", str(token_file))) as found:
        yield found


@pytest.fixture(scope="module")
def visit(browser: Browser, guarded: Khala) -> Iterator[tuple[BrowserContext, Watch]]:
    """One visit through all tests of this file, so that the session lasts as a person's would."""
    watch = Watch(guarded.url, failed_requests_are_meant=True)
    with new_context(browser, guarded.url, watch) as found:
        yield found, watch
    assert not watch.troubles


def test_token_is_asked_for_once(visit: tuple[BrowserContext, Watch]) -> None:
    page = visit[0].new_page()
    page.goto("/tasks")
    sign_in = page.get_by_test_id("sign-in")
    expect(page.get_by_label("Token", exact=True)).to_be_focused()
    page.keyboard.type("not the token at all")
    page.keyboard.press("Enter")
    expect(sign_in.get_by_role("alert")).to_contain_text("The gateway does not know this token")
    page.get_by_label("Token", exact=True).fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("no-tasks")).to_contain_text("No tasks yet")
    expect(page.get_by_test_id("live")).to_have_attribute("data-state", "live")

    again = visit[0].new_page()
    again.goto("/cluster")
    expect(again.get_by_test_id("executors")).to_be_visible()
    kept = again.evaluate("() => [document.cookie, JSON.stringify({...localStorage})].join()")
    assert TOKEN not in kept


def test_task_added_into_an_outage_is_added_once(
    visit: tuple[BrowserContext, Watch], guarded: Khala
) -> None:
    page = visit[0].new_page()
    page.goto("/tasks/new")
    page.get_by_test_id("example").click()
    guarded.stop()
    page.get_by_test_id("submit-task").click()
    expect(page.get_by_test_id("send-error")).to_contain_text(
        "It is not certain whether the task was added."
    )
    expect(page.get_by_label("Compile Command", exact=True)).to_have_value(re.compile("g\\+\\+"))
    expect(page.get_by_test_id("cluster-health")).to_have_text(
        "Out of date", timeout=RESTART_TIMEOUT_MS
    )

    guarded.start()
    page.get_by_test_id("submit-task").click()
    shown_task(page)
    expect(page.get_by_test_id("execute_output")).to_have_text("From Khala: Hello World!")
    expect(page.get_by_test_id("live")).to_have_attribute(
        "data-state", "live", timeout=RESTART_TIMEOUT_MS
    )
    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.get_by_test_id("task-row")).to_have_count(1)
