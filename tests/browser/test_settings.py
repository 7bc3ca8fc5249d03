"""What an administrator sets in the pages while the cluster runs: quotas, and what is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Watch, new_context
from tests.browser.test_everyone import CHECKS
from tests.cluster.harness import Khala


@pytest.fixture
def operator(browser: Browser, khala: Khala) -> Iterator[Page]:
    """That a cluster without certificates has no join tokens is meant to be refused."""
    watch = Watch(khala.url, failed_requests_are_meant=True)
    with new_context(browser, khala.url, watch) as context:
        page = context.new_page()
        # A button that was disabled a moment ago is not looked at while its colours change.
        page.emulate_media(reduced_motion="reduce")
        yield page
    assert not watch.troubles


def quotas_of(page: Page, user: str) -> Locator:
    return page.locator(f'[data-testid="quota-row"][data-user="{user}"]')


def test_quotas_are_set_changed_and_removed(operator: Page, khala: Khala) -> None:
    page = operator
    page.goto("/operations")
    expect(quotas_of(page, "default")).to_have_text(re.compile("Everybody.*No bounds"))

    page.get_by_test_id("quota-new").press("Enter")
    dialog, save = page.get_by_test_id("quota-dialog"), page.get_by_test_id("quota-save")
    dialog.get_by_label("Tasks that run").fill("many")
    save.click()
    expect(page.locator("#quota-user-problem")).to_contain_text("A user's number is needed")
    expect(page.locator("#quota-running-problem")).to_contain_text("A whole number")
    expect(page.locator("#quota-user")).to_be_focused()
    dialog.get_by_label("User's number").fill("4711")
    dialog.get_by_label("Tasks that run").fill("4000000")
    save.click()
    expect(dialog.get_by_role("alert")).to_contain_text("more than the maximum of 1000000")
    dialog.get_by_label("Tasks that run").fill("4")
    dialog.get_by_label("Stored, in GiB").fill("2.5")
    assert page.evaluate(CHECKS) == []
    save.click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_test_id("quota-new")).to_be_focused()
    own = quotas_of(page, "4711")
    expect(own).to_contain_text("4 running · 2.5 GiB stored")
    assert khala.call("GET", "/api/v2/quota?user=4711")[1]["running"]["limit"] == 4

    # Somebody else changes it while it is edited: what was not seen is not overwritten.
    own.get_by_role("button", name="Edit").click()
    others = {"quotas": {"users": {"4711": {"queued": 9}}}}
    assert khala.send("PATCH", "/api/v2/cluster/config", others)[0] == 200
    dialog.get_by_label("Tasks that run").fill("0")
    save.click()
    expect(dialog.get_by_role("alert")).to_contain_text("Somebody else has changed")
    dialog.get_by_role("button", name="Leave it").click()
    expect(own).to_contain_text("9 waiting · 4 running · 2.5 GiB stored")

    own.get_by_role("button", name="Edit").click()
    dialog.get_by_label("Tasks that run").fill("0")
    dialog.get_by_label("Tasks that wait").fill("")
    save.click()
    expect(own).to_contain_text(re.compile(r"User 4711 *2\.5 GiB stored"))
    own.get_by_role("button", name="Remove").click()
    page.get_by_test_id("confirm-yes").click()
    expect(own).to_have_count(0)
    expect(page.get_by_role("heading", name="Quotas")).to_be_focused()


def test_what_is_kept_is_set_and_less_of_it_taken_back(operator: Page, khala: Khala) -> None:
    page = operator
    page.goto("/operations")

    def row(key: str) -> Locator:
        return page.locator(f'[data-testid="keeping-row"][data-key="{key}"]')

    expect(row("count")).to_have_text(re.compile("by number *no bound *As hosts were told"))
    page.get_by_test_id("keeping-edit").press("Enter")
    dialog, save = page.get_by_test_id("keeping-dialog"), page.get_by_test_id("keeping-save")
    effects = page.get_by_test_id("keeping-effects")
    expect(effects).to_contain_text("What is in force stays so.")
    dialog.get_by_label("Ended tasks, by number").fill("1,000,000")
    dialog.get_by_label("Audit log").fill("none")
    dialog.get_by_label("Backups").fill("14")
    save.click()
    expect(page.locator("#keeping-audit_s-problem")).to_contain_text("A duration such as 90d")
    expect(page.locator("#keeping-audit_s")).to_be_focused()
    dialog.get_by_label("Audit log").fill("500d")
    expect(page.locator("#keeping-audit_s-problem")).to_have_count(0)
    expect(effects).to_contain_text("At once each judicator keeps 14 backups.")
    expect(effects).to_contain_text("At once new entries of the audit log are kept for 500 days.")
    expect(effects).to_contain_text(re.compile("After a day.*the newest 1,000,000 ended tasks"))
    assert page.evaluate(CHECKS) == []
    save.click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_test_id("keeping-edit")).to_be_focused()
    expect(row("backups_kept")).to_have_text(re.compile("the newest 14 *Set here"))
    expect(row("audit_s")).to_have_text(re.compile("500 days *Set here"))
    expect(row("count")).to_have_text(re.compile("no bound *Set here: the newest 1,000,000 from"))
    coming = page.get_by_test_id("keeping-coming")
    expect(coming).to_contain_text("the newest 1,000,000 ended tasks are kept.")
    kept = khala.call("GET", "/api/v2/cluster/config")[1]["keeping"]
    assert kept["retention"]["count"] == 1_000_000 and kept["less_from"]

    # What a card has changed is what the other one has seen.
    everybody = quotas_of(page, "default")
    everybody.get_by_role("button", name="Edit").click()
    page.get_by_label("Tasks that wait").fill("500000")
    page.get_by_test_id("quota-save").click()
    expect(page.get_by_test_id("quota-dialog")).to_have_count(0)
    everybody.get_by_role("button", name="Remove").click()
    page.get_by_test_id("confirm-yes").click()
    expect(everybody).to_contain_text("No bounds")

    page.get_by_test_id("keeping-back").click()
    expect(coming).to_have_count(0)
    expect(page.get_by_role("heading", name="What is kept")).to_be_focused()
    expect(row("count")).to_have_text(re.compile("no bound *As hosts were told"))

    # Somebody else changes it while it is edited: what was not seen is not overwritten.
    page.get_by_test_id("keeping-edit").click()
    others = {"keeping": {"backups_kept": 15}}
    assert khala.send("PATCH", "/api/v2/cluster/config", others)[0] == 200
    dialog.get_by_label("Backups").fill("16")
    save.click()
    expect(dialog.get_by_role("alert")).to_contain_text("Somebody else has changed")
    dialog.get_by_role("button", name="Leave it").click()
    expect(row("backups_kept")).to_contain_text("the newest 15")


def test_settings_that_cannot_be_read_say_so(operator: Page) -> None:
    page = operator
    problem = {"code": "unavailable", "title": "Unavailable", "detail": "no judicator answers"}
    page.route(
        "**/api/v2/cluster/config",
        lambda route: route.fulfill(status=503, json={**problem, "status": 503}),
    )
    page.goto("/operations")
    card = page.get_by_test_id("quotas")
    expect(card.get_by_test_id("failure")).to_contain_text("The quotas could not be read")
    expect(card).to_contain_text("Nothing to show.")
    card = page.get_by_test_id("keeping")
    expect(card.get_by_test_id("failure")).to_contain_text("What is kept could not be read")
