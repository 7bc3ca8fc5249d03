"""The page of the queue: what is next, whose it is, and why it waits."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.test_again import NO_SUCH_PLACE, submit
from tests.cluster.harness import Khala

USER = 1501


def test_queue_is_shown_in_its_order_without_a_reload(page: Page, khala: Khala) -> None:
    page.goto(f"/queue?user={USER}")
    expect(page.get_by_test_id("no-queue")).to_contain_text("Nothing of user 1501 is in line")
    low = submit(khala, "true", user=USER, name="low", placement=NO_SUCH_PLACE)
    high = submit(khala, "true", user=USER, priority=50, placement=NO_SUCH_PLACE)
    rows = page.get_by_test_id("queue-row")
    expect(rows).to_have_count(2)
    assert [row.get_attribute("data-id") for row in rows.all()] == [high, low]
    expect(rows.nth(0)).to_contain_text("arch=z80")
    expect(rows.nth(0).get_by_role("cell").nth(3)).to_contain_text("50")
    places = [int(row.get_by_role("cell").first.inner_text()) for row in rows.all()]
    assert places == sorted(places)

    page.get_by_role("link", name="Of all users").click()
    whose = page.locator(f"[data-testid=queue-user][data-user='{USER}']")
    expect(whose.get_by_role("cell").first).to_have_text("2")
    expect(page.get_by_test_id("queue-text")).to_contain_text(re.compile("wait for an executor"))
    whose.get_by_role("link", name=str(USER)).click()
    expect(rows).to_have_count(2)
    rows.get_by_role("link", name="low").click()
    expect(page.get_by_test_id("waiting").locator("[data-code=label]")).to_be_visible()
    page.get_by_test_id("waiting").get_by_role("link", name="The queue").click()
    expect(page.locator(f"[data-testid=queue-row][data-id='{low}']")).to_be_visible()
    page.goto(f"/queue?user={USER}")
    expect(rows).to_have_count(2)
    for task in (low, high):
        khala.call("DELETE", f"/api/task?id={task}")
    expect(page.get_by_test_id("no-queue")).to_be_visible()
