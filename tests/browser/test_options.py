"""Options of a task in the page: what they ask for, how faults show, what a rerun keeps."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch
from tests.cluster.harness import Khala

TASK_ADDRESS = re.compile(r"/tasks/([0-9a-f]{24})$")


def fill_command(page: Page, command: str) -> None:
    page.goto("/tasks/new")
    page.get_by_label("User Id", exact=True).fill("0")
    page.get_by_label("Compile Timeout", exact=True).fill("10")
    page.get_by_label("Execute Command", exact=True).fill(command)
    page.get_by_label("Execute Timeout", exact=True).fill("10")


def test_options_reach_the_task_and_are_shown(page: Page, khala: Khala) -> None:
    fill_command(page, 'echo "$GREETING"; yes | head -c 5000')
    expect(page.locator("#execute_memory")).to_be_hidden()
    page.get_by_test_id("options").locator("summary").click()
    page.locator("#execute_memory").fill("96MiB")
    page.locator("#execute_output").fill("1000")
    page.locator("input[name=execute_truncate]").check()
    page.locator("#execute_env").fill("GREETING=hello from the options")
    page.locator("#collect").fill("*.log")
    page.locator("#name").fill("third try")
    page.locator("#labels").fill("hw=3\nset=a")
    page.locator("#priority").fill("-5")
    page.locator("#retention").fill("36h")
    page.locator("#try_attempts").fill("2")
    page.locator("#try_on").fill("signal")
    page.locator("#try_ttl").fill("2h")
    page.locator("#network").select_option("none")
    page.get_by_test_id("submit-task").click()

    expect(page).to_have_url(TASK_ADDRESS)
    expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "succeeded")
    expect(page.get_by_test_id("stage-execute")).to_contain_text("of 96 MiB")
    expect(page.get_by_test_id("execute_output")).to_contain_text("hello from the options")
    expect(page.get_by_test_id("execute_output_gap")).to_contain_text("are missing here")
    expect(page.get_by_test_id("artifacts-request")).to_contain_text("*.log")
    expect(page.get_by_test_id("name")).to_have_text("third try")
    expect(page.get_by_test_id("labels")).to_have_text(re.compile(r"hw=3\s*set=a"))
    expect(page.get_by_test_id("priority")).to_have_text("-5")
    expect(page.get_by_test_id("network")).to_have_text("none")
    expect(page.get_by_test_id("retry-policy")).to_have_text("up to 2 results, after signal")
    found = TASK_ADDRESS.search(page.url)
    assert found
    assert khala.explain(found[1])["retention_s"] == 36 * 3600
    limits = khala.explain(found[1])["stages"]["execute"]["limits"]
    assert limits["memory_bytes"] == 96 << 20
    assert limits["on_output_limit"] == "truncate"

    page.get_by_test_id("rerun").click()
    expect(page.locator("#execute_memory")).to_have_value("96MiB")
    expect(page.locator("#execute_env")).to_have_value("GREETING=hello from the options")
    expect(page.locator("#execute_output")).to_have_value("1000")
    expect(page.locator("#name")).to_have_value("third try")
    expect(page.locator("#labels")).to_have_value("hw=3\nset=a")
    expect(page.locator("#priority")).to_have_value("-5")
    expect(page.locator("#retention")).to_have_value("36h")
    expect(page.locator("#try_attempts")).to_have_value("2")
    expect(page.locator("#try_on")).to_have_value("signal")
    expect(page.locator("#try_ttl")).to_have_value("7200s")
    expect(page.locator("#try_after")).to_have_value("")
    expect(page.locator("#network")).to_have_value("none")
    expect(page.locator("#execute_pids")).to_have_value("")
    expect(page.locator("#compile_memory")).to_have_value("")


def test_a_refused_option_says_so_at_its_place(page: Page, watch: Watch) -> None:
    watch.failed_requests_are_meant = True
    fill_command(page, "true")
    page.get_by_test_id("options").locator("summary").click()
    page.locator("#execute_memory").fill("900GiB")
    page.get_by_test_id("submit-task").click()
    expect(page.locator("#execute_memory")).to_be_focused()
    expect(page.locator("#execute_memory")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#execute_memory-problem")).to_contain_text("--memory-max")
    page.locator("#execute_memory").fill("64MiB")
    page.locator("#compile_env").fill("no variable")
    page.get_by_test_id("submit-task").click()
    expect(page.locator("#compile_env")).to_be_focused()
    expect(page.locator("#compile_env-problem")).to_contain_text("NAME=value")
    page.locator("#compile_env").fill("")
    page.locator("#try_attempts").fill("2")
    page.locator("#try_on").fill("boredom")
    page.get_by_test_id("submit-task").click()
    expect(page.locator("#try_on")).to_be_focused()
    expect(page.locator("#try_on-problem")).to_contain_text("exit_nonzero, signal")
    expect(page.locator("#try_on-problem")).to_contain_text("boredom")
    page.locator("#try_on").fill("")
    page.locator("#retention").fill("1s")
    page.get_by_test_id("submit-task").click()
    expect(page.locator("#retention")).to_be_focused()
    expect(page.locator("#retention-problem")).to_contain_text("minimum of 1m")
    page.locator("#retention").fill("")
    page.get_by_test_id("submit-task").click()
    expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "succeeded")
