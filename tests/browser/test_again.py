"""What is done with tasks that exist: tried again, run once more, cancelled by the filter."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch
from tests.browser.test_first_task import shown_task
from tests.browser.test_jobs import ask, indexes, members, submit_array
from tests.cluster.harness import Khala, wait_until

THIRD_TIME = "echo try $KHALA_ATTEMPT; echo trouble >&2; [ $KHALA_ATTEMPT = 3 ]"
NO_SUCH_PLACE = {"require": {"arch": "z80"}}


def submit(khala: Khala, command: str, **fields: object) -> str:
    stages = {"execute": {"command": command}}
    return str(ask(khala, "/tasks", {"stages": stages, **fields})["id"])


def test_every_attempt_is_shown_with_what_it_wrote(page: Page, khala: Khala) -> None:
    task = submit(
        khala, THIRD_TIME, retry={"max_attempts": 3, "on": ["exit_nonzero"], "backoff_s": 0}
    )
    khala.wait_done(task)
    page.goto(f"/tasks/{task}")
    expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "succeeded")
    expect(page.get_by_test_id("retry-policy")).to_have_text("up to 3 results, after exit_nonzero")
    attempts = page.get_by_test_id("attempt")
    expect(attempts).to_have_count(3)  # the newest first
    expect(attempts.nth(0)).to_contain_text("Succeeded")
    expect(attempts.nth(2)).to_contain_text("Failed, tried again")
    expect(attempts.nth(2)).to_contain_text("exit status 1")
    page.get_by_role("button", name="Attempt 1", exact=True).press("Enter")
    written = page.get_by_test_id("attempt-output")
    expect(written.get_by_role("region")).to_have_text(["try 1\n", "trouble\n"])
    with page.expect_download() as waiting:
        written.get_by_role("link", name="Download all it wrote").click()
    assert b"try 1\n" in waiting.value.path().read_bytes()
    page.get_by_role("button", name="Attempt 1", exact=True).press("Enter")
    expect(written).to_have_count(0)


def test_first_attempt_is_shown_while_the_second_is_waited_for(page: Page, khala: Khala) -> None:
    task = submit(
        khala,
        "echo once; exit 4",
        retry={"max_attempts": 2, "backoff_s": 3000, "backoff_max_s": 3000},
    )
    page.goto(f"/tasks/{task}")
    expect(page.get_by_test_id("attempt")).to_contain_text("exit status 4")
    expect(page.get_by_test_id("task-headline")).to_contain_text("Waiting until")
    expect(page.get_by_test_id("position")).to_have_count(0)  # it does not wait for an executor
    khala.call("DELETE", f"/api/task?id={task}")
    expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "cancelled")
    expect(page.get_by_test_id("attempt")).to_have_count(1)


def test_task_that_waits_says_its_place_and_what_would_help(page: Page, khala: Khala) -> None:
    task = submit(khala, "true", placement=NO_SUCH_PLACE)
    page.goto(f"/tasks/{task}")
    expect(page.get_by_test_id("position")).to_have_text(re.compile("of all that wait"))
    expect(page.get_by_test_id("would-run-if")).to_contain_text("placement agree")
    khala.call("DELETE", f"/api/task?id={task}")
    expect(page.get_by_test_id("waiting")).to_have_count(0)


def test_ended_task_runs_again_as_a_new_one(page: Page, khala: Khala) -> None:
    task = submit(khala, "echo again", name="twice")
    khala.wait_done(task)
    page.goto(f"/tasks/{task}")
    expect(page.get_by_test_id("attempts")).to_have_count(0)  # one try is no history
    page.get_by_test_id("retry").click()
    expect(page.get_by_test_id("rerun-of")).to_have_text(task)
    expect(page.get_by_test_id("execute_output")).to_have_text("again")
    assert shown_task(page) != task
    page.get_by_test_id("rerun-of").click()
    expect(page.get_by_test_id("task-id")).to_have_text(task)


def test_failed_tasks_of_a_job_run_again(page: Page, khala: Khala) -> None:
    job = submit_array(khala, "[ $((KHALA_ARRAY_INDEX % 3)) != 0 ]", "0-6", name="thirds")
    page.goto(f"/jobs/{job}")
    expect(page.get_by_test_id("job-headline")).to_have_text("3 of 7 tasks failed.")
    page.get_by_test_id("retry-job").click()
    dialog = page.get_by_test_id("confirm")
    dialog.get_by_label(re.compile("Failed")).uncheck()
    expect(page.get_by_test_id("confirm-yes")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("retry-job")).to_be_focused()

    page.get_by_test_id("retry-job").click()
    dialog.get_by_role("button", name="Retry 3 tasks").click()
    expect(page.get_by_test_id("retry-of")).to_have_text(job)
    expect(page.get_by_test_id("job-headline")).to_have_text("3 of 3 tasks failed.")
    expect(members(page)).to_have_count(3)
    assert indexes(page) == [0, 3, 6]


def test_all_open_tasks_of_a_filter_are_cancelled(page: Page, khala: Khala, watch: Watch) -> None:
    watch.failed_requests_are_meant = True
    user = 1401
    ended = submit(khala, "true", user=user)
    other = submit(khala, "true", user=user + 1, placement=NO_SUCH_PLACE)
    khala.wait_done(ended)
    first, *_ = [submit(khala, "true", user=user, placement=NO_SUCH_PLACE) for _ in range(3)]
    page.goto("/tasks")
    expect(page.get_by_test_id("task-row").first).to_be_visible()
    expect(page.get_by_test_id("cancel-matching")).to_have_count(0)  # nothing is filtered

    page.goto(f"/tasks?user={user}")
    page.get_by_test_id("cancel-matching").click()
    expect(page.get_by_test_id("matching")).to_contain_text("3 tasks of user 1401 have not ended")
    submit(khala, "true", user=user, placement=NO_SUCH_PLACE)  # nobody has seen this one
    page.get_by_role("button", name="Cancel 3 tasks").click()
    expect(page.get_by_test_id("confirm")).to_contain_text("Their number has changed")
    reason = page.get_by_test_id("confirm").get_by_label("Reason", exact=True)
    reason.fill("no such machine")
    page.get_by_role("button", name="Cancel 4 tasks").click()
    expect(page.get_by_test_id("confirm")).to_have_count(0)
    expect(page.locator("[data-testid=task-row][data-status='7']")).to_have_count(4)

    page.get_by_test_id("cancel-matching").click()
    expect(page.get_by_test_id("matching")).to_have_text(
        "No task that matches is open: all have ended."
    )
    expect(page.get_by_test_id("confirm-yes")).to_be_disabled()
    assert ask(khala, f"/tasks/{first}")["message"] == "cancelled: no such machine"
    assert ask(khala, f"/tasks/{other}")["state"] == "queued"
    khala.call("DELETE", f"/api/task?id={other}")
    wait_until(
        lambda: ask(khala, f"/tasks/{other}")["state"] == "cancelled", 120, "it is cancelled"
    )
