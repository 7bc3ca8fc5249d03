"""The page of statistics: what ended, as charts and as a table; its address has the time."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.test_again import submit
from tests.browser.test_cases import case, judge
from tests.cluster.harness import Khala


def test_what_ended_is_shown_as_charts_and_as_a_table(page: Page, khala: Khala) -> None:
    khala.wait_done(submit(khala, "exit 3"))
    judge(khala, "cat", case("wrong", "a", "b"))
    page.goto("/stats?range=1h")
    charts = page.get_by_test_id("stats").get_by_role("img")
    expect(charts).to_have_count(3)
    name = str(charts.first.get_attribute("aria-label"))
    assert re.match(r"Tasks that ended over time: [1-9].* succeeded, [1-9].* failed", name), name
    expect(page.get_by_test_id("verdicts").locator("[data-verdict=WA]")).to_be_visible()
    ended = page.get_by_test_id("ended")
    before = int(ended.inner_text().replace(",", ""))

    table = page.get_by_test_id("stats-table")
    table.locator("summary").click()
    row = table.locator("tbody tr").last
    expect(row.get_by_role("rowheader")).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d$"))
    counts = [int(cell.inner_text()) for cell in row.get_by_role("cell").all()[:4]]
    assert sum(counts) > 0

    submit(khala, "true")  # seen without a reload
    expect(ended).not_to_have_text(f"{before:,}")

    page.get_by_test_id("ranges").get_by_role("link", name="7 days").click()
    expect(page).to_have_url(re.compile(r"/stats\?range=7d$"))
    page.get_by_test_id("steps").get_by_role("link", name="day", exact=True).click()
    expect(page).to_have_url(re.compile(r"/stats\?range=7d&step=1d$"))
    page.reload()  # the address holds both
    expect(page.get_by_test_id("steps").locator("[aria-current]")).to_have_text("day")
    expect(charts).to_have_count(3)
    charts.first.hover(position={"x": 500, "y": 100})
    expect(page.get_by_test_id("picked").first).to_have_text(re.compile(r"^\d+ [A-Z][a-z]{2}$"))
