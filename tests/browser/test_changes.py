"""What is changed of a task that exists: what it is called, when it runs, and who was first."""

from __future__ import annotations

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Watch
from tests.browser.test_again import NO_SUCH_PLACE, submit
from tests.browser.test_jobs import ask
from tests.cluster.harness import Khala


def test_waiting_task_is_renamed_moved_held_and_released(page: Page, khala: Khala) -> None:
    task = submit(khala, "true", name="before", labels={"hw": "3"}, placement=NO_SUCH_PLACE)
    page.goto(f"/tasks/{task}")
    page.get_by_test_id("edit").click()
    form = page.get_by_test_id("edit-form")
    expect(form.get_by_label("Name", exact=True)).to_be_focused()
    form.get_by_label("Name", exact=True).fill("after")
    form.get_by_label("Labels", exact=True).fill("set=a")
    form.get_by_label("Priority", exact=True).fill("200")
    page.keyboard.press("Enter")
    expect(page.locator("#priority-problem")).to_contain_text("from -100 to 100")
    expect(form.get_by_label("Priority", exact=True)).to_be_focused()
    form.get_by_label("Priority", exact=True).fill("7")
    page.keyboard.press("Enter")
    expect(form).to_have_count(0)
    expect(page.get_by_test_id("edit")).to_be_focused()
    expect(page.get_by_test_id("name")).to_have_text("after")
    expect(page.get_by_test_id("labels")).to_have_text("set=a")
    expect(page.get_by_test_id("priority")).to_have_text("7")
    expect(page).to_have_title("Queued · after · Khala")

    page.get_by_test_id("hold").click()
    expect(page.get_by_test_id("task-state")).to_contain_text("Held")
    expect(page).to_have_title("Held · after · Khala")
    # The headline says it all, so nothing below says it again.
    expect(page.get_by_test_id("task-headline")).to_contain_text("until it is released")
    expect(page.get_by_test_id("waiting")).to_have_count(0)
    assert ask(khala, f"/tasks/{task}")["held"] is True
    page.goto(f"/tasks?id={task}&held=true")
    expect(page.locator(f"[data-id='{task}']")).to_contain_text("Held")
    expect(page.get_by_label("Held", exact=True)).to_have_value("true")
    page.get_by_label("Held", exact=True).select_option("Not held")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_test_id("no-tasks")).to_be_visible()
    page.goto(f"/tasks/{task}")
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_test_id("task-state")).to_contain_text("Queued")
    khala.call("DELETE", f"/api/task?id={task}")
    expect(page.get_by_test_id("hold")).to_have_count(0)


def test_change_that_came_too_late_is_said_in_words(page: Page, khala: Khala, watch: Watch) -> None:
    watch.failed_requests_are_meant = True
    task = submit(khala, "true", name="first", placement=NO_SUCH_PLACE)
    path = f"/api/v2/tasks/{task}"
    page.goto(f"/tasks/{task}")
    page.get_by_test_id("edit").click()
    form = page.get_by_test_id("edit-form")
    form.get_by_label("Name", exact=True).fill("mine")
    assert khala.send("PATCH", path, {"name": "theirs"})[0] == 200
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("edit-conflict")).to_contain_text("Now its name is “theirs”")
    expect(form.get_by_label("Name", exact=True)).to_have_value("mine")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_test_id("name")).to_have_text("mine")

    def end_first(route: Route) -> None:
        """The task ends between the click and its request."""
        if route.request.method == "PATCH":
            khala.call("DELETE", f"/api/task?id={task}")
        route.continue_()

    page.route(f"**{path}", end_first)
    page.get_by_test_id("hold").click()
    expect(page.get_by_test_id("hold-refused")).to_contain_text("Nothing was changed")
    expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "cancelled")


def test_retention_is_changed_also_of_what_has_ended(
    page: Page, khala: Khala, watch: Watch
) -> None:
    watch.failed_requests_are_meant = True
    task = submit(khala, "true", retention="2h")
    khala.wait_done(task)
    page.goto(f"/tasks/{task}")
    removed = page.get_by_test_id("removed-after").locator("time")
    before = removed.inner_text()
    page.get_by_test_id("edit").click()
    kept = page.get_by_test_id("edit-form").get_by_label("Kept after its end", exact=True)
    expect(kept).to_have_value("2h")
    kept.fill("5s")
    page.keyboard.press("Enter")
    expect(page.locator("#retention-problem")).to_contain_text("minimum of 1m")
    kept.fill("7d")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("edit-form")).to_have_count(0)
    expect(removed).not_to_have_text(before)
    assert ask(khala, f"/tasks/{task}")["retention_s"] == 7 * 86400
    page.get_by_test_id("edit").click()
    kept.fill("")
    page.keyboard.press("Enter")
    expect(removed).to_have_count(0)
    assert ask(khala, f"/tasks/{task}")["retention_s"] is None


def test_job_is_held_and_released(page: Page, khala: Khala) -> None:
    task = {"stages": {"execute": {"command": "true"}}, "placement": NO_SUCH_PLACE}
    job = ask(khala, "/jobs", {"task": task, "array": "0-3", "name": "four"})["id"]
    page.goto(f"/jobs/{job}")
    state = page.get_by_test_id("job-state")
    expect(state).to_contain_text("Queued")
    page.get_by_test_id("hold").click()
    expect(state).to_contain_text("Held")
    expect(page.get_by_test_id("job-headline")).to_contain_text("before the job is released")
    expect(page).to_have_title("Held · four · Khala")
    assert ask(khala, f"/jobs/{job}")["held"] is True
    page.get_by_role("button", name="Release").click()
    expect(state).to_contain_text("Queued")
    assert ask(khala, f"/jobs/{job}")["held"] is False
    ask(khala, f"/jobs/{job}/cancel", {})
    expect(state).to_have_attribute("data-state", "cancelled")
    expect(page.get_by_test_id("hold")).to_have_count(0)
