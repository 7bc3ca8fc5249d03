"""Presets in the pages: kept, corrected where the gateway says, chosen, overridden, removed."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch
from tests.browser.test_options import TASK_ADDRESS
from tests.cluster.harness import Khala


def write_task(page: Page, text: str) -> None:
    page.get_by_test_id("preset-task").locator(".cm-content").wait_for()
    page.get_by_label("Task Document", exact=True).click()
    page.keyboard.press("Control+A")
    # Typed letters would be indented by the editor.
    page.keyboard.insert_text(text)


def test_a_preset_is_kept_corrected_and_removed(page: Page, watch: Watch) -> None:
    watch.failed_requests_are_meant = True
    page.goto("/tasks")
    page.get_by_role("link", name="Presets", exact=True).click()
    page.get_by_role("link", name="New preset").first.click()
    write_task(page, '{"stages": {"execute": {"command": "cat",\n "limits": {"pids": 0}}}')
    page.get_by_test_id("keep").click()
    expect(page.locator("#preset-name")).to_be_focused()
    expect(page.locator("#preset-name-problem")).to_contain_text("1 to 63 letters")
    expect(page.locator("#preset-task-problem")).to_be_visible()  # a brace is missing

    page.get_by_label("Name", exact=True).fill("browser-cat")
    page.get_by_label("Description", exact=True).fill("Says it again.")
    write_task(page, '{"stages": {"execute": {"command": "cat",\n "limits": {"pids": 0}}}}')
    page.get_by_test_id("keep").click()
    fault = page.get_by_test_id("preset-faults")
    expect(fault).to_contain_text("/stages/execute/limits/pids")
    # It stands selected: what is typed takes its place.
    expect(page.get_by_label("Task Document", exact=True)).to_be_focused()
    page.keyboard.insert_text("7")
    page.keyboard.press("Control+Enter")

    row = page.locator("[data-testid=preset-row][data-name=browser-cat]")
    expect(row).to_contain_text("Says it again.")
    row.get_by_role("link", name="browser-cat", exact=True).click()
    expect(page.get_by_test_id("preset-task").locator(".cm-content")).to_contain_text('"pids": 7')
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_test_id("confirm-yes").click()
    expect(page).to_have_url(re.compile("/presets$"))
    expect(row).to_have_count(0)


def test_a_task_begins_with_a_preset_and_overrides_it(page: Page, khala: Khala) -> None:
    said = {
        "description": "Says it loudly.",
        "task": {
            "env": {"GREETING": "hello"},
            "stages": {
                "execute": {
                    "command": 'echo "$GREETING"; tr a-z A-Z',
                    "limits": {"wall_s": 20, "memory": "96MiB", "pids": 9},
                }
            },
        },
    }
    assert page.request.put(f"{khala.url}/api/v2/presets/loud", data=said).ok
    page.goto("/presets")
    page.locator("[data-name=loud]").get_by_role("link", name="New task with loud").click()
    told = page.get_by_test_id("preset-told")
    expect(told).to_contain_text("Everything is as loud says.")
    expect(told).to_contain_text("/env")
    expect(page.locator("#execute_timeout")).to_have_value("20")
    page.get_by_label("User Id", exact=True).fill("0")
    page.get_by_label("Execute Input", exact=True).fill("quiet")
    page.locator("#execute_memory").fill("64MiB")
    page.locator("#execute_pids").fill("5")
    expect(told).to_contain_text("Execute: memory, Execute: processes")
    page.get_by_role("button", name="Take it for Processes").click()
    expect(page.locator("#execute_pids")).to_be_focused()
    expect(page.locator("#execute_pids")).to_have_value("9")

    with page.expect_request(f"{khala.url}/api/v2/tasks") as sent:
        page.get_by_test_id("submit-task").click()
    body = sent.value.post_data or ""
    assert '"preset":"loud"' in body
    assert "pids" not in body, "only what differs is sent"
    expect(page.get_by_test_id("execute_output")).to_have_text("hello QUIET")
    found = TASK_ADDRESS.search(page.url)
    assert found
    limits = khala.explain(found[1])["stages"]["execute"]["limits"]
    assert (limits["memory_bytes"], limits["pids"]) == (64 << 20, 9)
    assert page.request.delete(f"{khala.url}/api/v2/presets/loud").ok
