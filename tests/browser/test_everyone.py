"""Pages on a phone, in both themes and everywhere, for people who do not see, with less motion.

The checks in `page_checks.js` find what a rule can find: names, structure, contrast.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Watch, new_context
from tests.browser.test_again import submit
from tests.browser.test_cases import case, judge
from tests.browser.test_jobs import ask, submit_array
from tests.cluster.harness import Khala, wait_until

CHECKS = (Path(__file__).parent / "page_checks.js").read_text()
LONG_LINE = "x" * 3000
LONG_NAME = "p" * 63
DESKTOP, PHONE = (1280, 800), (390, 844)

Theme = Literal["light", "dark"]


@dataclasses.dataclass(frozen=True, slots=True)
class Tasks:
    """One task of each look."""

    succeeded: str
    failed: str
    running: str
    waiting: str
    judged: str
    retried: str
    job: str


def put_preset(khala: Khala) -> None:
    """One of a long name; that form does not show all of it."""
    task = {"stages": {"execute": {"command": LONG_LINE}}, "env": {"A": LONG_LINE}}
    said = {"description": LONG_LINE[:200], "task": task}
    assert khala.send("PUT", f"/api/v2/presets/{LONG_NAME}", said)[0] == 200


@pytest.fixture(scope="module")
def tasks(khala: Khala) -> Iterator[Tasks]:
    succeeded = khala.submit(
        user="601",
        compile_source_name="notes.txt",
        compile_source_str="a",
        compile_command=f"echo {LONG_LINE}",
        execute_command="seq 300; seq 300 | tr '\\n' ' '",
        execute_input=LONG_LINE,
        execute_standard="kept",
    )
    failed = khala.submit(user="601", execute_command="echo no >&2; exit 3")
    judged = judge(
        khala,
        "cat",
        case("equal", "a", "a"),
        case("n" * 64, LONG_LINE, "a b\n" * 30),
        case("blanks", " \ta \n", "a\n"),
        mode="exact",
    )
    retried = submit(khala, f"echo {LONG_LINE}; exit 9", retry={"max_attempts": 2, "backoff_s": 0})
    khala.wait_done(retried)
    running = khala.submit(user="601", execute_command="sleep 100", execute_timeout="110")
    waiting = submit(
        khala, "true", user=602, name=LONG_LINE[:120], placement={"require": {"a" * 63: "b" * 63}}
    )
    put_preset(khala)
    job = submit_array(khala, "exit $KHALA_ARRAY_INDEX", "0-2", name=LONG_LINE[:120])
    wait_until(lambda: ask(khala, f"/jobs/{job}")["done"], 120, "the job has ended")
    khala.wait_done(succeeded)
    khala.wait_done(failed)
    yield Tasks(succeeded, failed, running, waiting, judged, retried, job)
    for task in (running, waiting):
        khala.call("DELETE", f"/api/task?id={task}")


class Visit:
    """Every page once, each looked at when it is complete; `found` is what is wrong with them."""

    def __init__(self, page: Page, tasks: Tasks) -> None:
        self._page = page
        self._tasks = tasks
        self.found: list[str] = []

    def _look(self, name: str) -> None:
        page = self._page
        expect(page.get_by_test_id("live")).to_have_attribute("data-state", "live")
        expect(page.get_by_test_id("cluster-health")).to_have_text("Ready")
        width = page.viewport_size["width"] if page.viewport_size else 0
        needed = page.evaluate("() => document.documentElement.scrollWidth")
        if needed > width:
            self.found.append(f"{name}: {needed} px wide on a screen of {width} px")
        self.found.extend(f"{name}: {problem}" for problem in page.evaluate(CHECKS))

    def lists(self) -> None:
        page = self._page
        page.goto("/tasks?user=601")
        expect(page.get_by_test_id("task-row")).to_have_count(3)
        self._look("list")
        page.goto("/tasks?user=601&label=set=a&verdict=PE")
        expect(page.get_by_label("Verdict", exact=True)).to_have_value("PE")
        expect(page.get_by_test_id("no-tasks")).to_be_visible()
        self._look("all filters")
        page.goto("/tasks?user=699")
        expect(page.get_by_test_id("no-tasks")).to_be_visible()
        self._look("empty list")
        page.goto("/tasks?q=1+2+3+4+5+6+7+8+9&user=x")
        expect(page.get_by_text("These filters cannot match anything")).to_be_visible()
        self._look("refused filter")
        page.goto("/queue")
        expect(
            page.locator(f"[data-testid=queue-row][data-id='{self._tasks.waiting}']")
        ).to_be_visible()
        expect(page.get_by_test_id("queue-users")).to_be_visible()
        self._look("queue")
        page.goto("/queue?user=699")
        expect(page.get_by_test_id("no-queue")).to_be_visible()
        self._look("empty queue")
        page.goto("/stats?range=1h")
        expect(page.get_by_test_id("stats").get_by_role("img")).to_have_count(3)
        page.get_by_test_id("stats-table").locator("summary").click()
        self._look("statistics")
        page.goto("/cluster")
        expect(page.get_by_test_id("executors")).to_be_visible()
        self._look("cluster")

    def presets(self) -> None:
        page = self._page
        page.goto("/presets")
        expect(page.locator(f"[data-name='{LONG_NAME}']")).to_be_visible()
        self._look("presets")
        page.get_by_role("button", name=f"Remove preset {LONG_NAME}").click()
        expect(page.get_by_test_id("confirm")).to_be_visible()
        self._look("question of a preset")
        page.goto(f"/presets/edit?name={LONG_NAME}")
        expect(page.get_by_test_id("preset-task").locator(".cm-content")).to_be_visible()
        self._look("preset")
        page.goto(f"/tasks/new?preset={LONG_NAME}")
        page.get_by_label("Execute Command", exact=True).fill("true")
        expect(page.get_by_test_id("preset-told")).to_contain_text("Overridden here")
        self._look("overridden preset")
        page.evaluate("localStorage.clear()")  # the draft

    def tasks(self) -> None:
        page, tasks = self._page, self._tasks
        for name in ("succeeded", "failed", "running"):
            page.goto(f"/tasks/{getattr(tasks, name)}")
            expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", name)
            self._look(f"{name} task")
        page.get_by_test_id("cancel").click()
        expect(page.get_by_test_id("confirm")).to_be_visible()
        self._look("question")
        page.goto(f"/tasks/{tasks.judged}")
        expect(page.get_by_test_id("diff")).to_be_visible()
        self._look("wrong answer")
        page.get_by_role("button", name="blanks").click()
        expect(page.get_by_test_id("diff-blanks")).to_be_visible()
        self._look("wrong blanks")
        page.goto(f"/tasks/{tasks.retried}")
        first = page.get_by_role("button", name="Attempt 1", exact=True)
        if first.evaluate("button => button.offsetHeight") > 60:
            self.found.append("attempts: a number is broken into lines")
        first.click()
        expect(page.get_by_test_id("attempt-output").get_by_role("region")).to_be_visible()
        self._look("attempts")

    def form(self) -> None:
        page = self._page
        page.goto("/tasks/new")
        page.get_by_test_id("example").click()
        page.get_by_label("Execute Data File Name", exact=True).fill("table.csv")
        expect(page.locator(".cm-content")).to_have_count(2)
        page.get_by_label("User Id", exact=True).fill("")
        page.get_by_test_id("submit-task").click()
        expect(page.get_by_test_id("problems")).to_be_visible()
        self._look("refused form")
        page.get_by_text("Cases", exact=True).click()
        page.get_by_text("Paste many cases").click()
        page.get_by_test_id("options").locator("summary").click()
        page.get_by_label("Judged by").select_option("program")
        page.get_by_label("User Id", exact=True).fill("0")
        page.get_by_test_id("submit-task").click()
        expect(page.locator("#check_command-problem")).to_be_visible()
        self._look("refused cases")

    def jobs(self) -> None:
        page, job = self._page, self._tasks.job
        page.goto("/jobs")
        expect(page.locator(f"[data-id='{job}']")).to_be_visible()
        self._look("jobs")
        page.goto(f"/jobs/{job}")
        expect(page.get_by_test_id("member")).to_have_count(3)
        self._look("job")
        page.get_by_test_id("retry-job").click()
        expect(page.get_by_test_id("confirm")).to_be_visible()
        self._look("question of a job")
        page.goto(f"/jobs/{job}?state=running")
        expect(page.get_by_test_id("no-members")).to_be_visible()
        self._look("empty page of a job")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page_in(page: Page, tasks: Tasks, theme: Theme, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    visit = Visit(page, tasks)
    for visit_all in (visit.lists, visit.tasks, visit.form, visit.jobs, visit.presets):
        visit_all()
    assert visit.found == []


def test_times_are_the_readers_own_and_their_zone_is_named(
    browser: Browser, khala: Khala, watch: Watch
) -> None:
    task = khala.submit(user="603")
    khala.wait_done(task)
    created = datetime.datetime.fromisoformat(khala.explain(task)["created_at"])
    with new_context(browser, khala.url, watch, timezone="Asia/Kolkata") as context:
        page = context.new_page()
        page.goto(f"/tasks/{task}")
        time = page.locator("time").first
        local = created.astimezone(zoneinfo.ZoneInfo("Asia/Kolkata"))
        expect(time).to_have_text(f"{local:%Y-%m-%d %H:%M:%S}")
        expect(time).to_have_attribute("title", f"{created:%Y-%m-%d %H:%M:%S} UTC")
        # Older browsers know the place by its older name.
        expect(page.get_by_test_id("zone")).to_have_text(
            re.compile(r"^Times on this page are in Asia/(Kolkata|Calcutta), UTC\+05:30\.$")
        )


def test_theme_is_kept_and_overrules_the_system(page: Page) -> None:
    def brightness() -> int:
        color = page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
        return sum(int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(","))

    page.emulate_media(color_scheme="light")
    page.goto("/tasks")
    bright = brightness()
    page.get_by_role("group", name="Theme").get_by_title("Dark").click()
    dark = brightness()
    assert dark < 300 < 600 < bright
    page.reload()
    assert brightness() == dark
    page.emulate_media(color_scheme="dark")
    page.get_by_role("group", name="Theme").get_by_title("Light").click()
    assert brightness() == bright
