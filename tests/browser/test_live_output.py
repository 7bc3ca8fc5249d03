"""What a task writes, on its page while it still runs.

The tasks of these tests run until they are cancelled: whatever is seen of them was seen before
their end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import RESTART_TIMEOUT_MS, Watch, killed_gateway
from tests.cluster.harness import Khala

#: More than the tail of 256 KiB that a page reads and keeps.
FLOOD = "seq 100000"
COUNT = "n=0; while :; do n=$((n + 1)); echo counted $n; sleep 0.1; done"
KEPT_BYTES = 256 * 1024
STREAMS = ("stdout", "stderr")
PIXELS_BELOW = "(pane) => pane.scrollHeight - pane.scrollTop - pane.clientHeight"


@contextmanager
def running_task(page: Page, khala: Khala, command: str) -> Iterator[str]:
    """Open its page; cancel it at the end."""
    task = khala.submit(execute_command=command, execute_timeout="200")
    try:
        page.goto(f"/tasks/{task}")
        yield task
    finally:
        khala.call("DELETE", f"/api/task?id={task}")


def counted(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"counted (\d+)", text)]


def text_of(pane: Locator) -> str:
    """Exactly, with the line ends at its end."""
    return pane.text_content() or ""


def test_first_line_is_seen_while_the_task_runs(page: Page, khala: Khala) -> None:
    command = "echo begun; echo '<b>odd</b>' >&2; sleep 190"
    with running_task(page, khala, command) as task:
        output, error = (page.get_by_test_id(f"execute_{name}_live") for name in STREAMS)
        expect(output).to_have_text("begun")
        expect(error).to_have_text("<b>odd</b>")
        expect(output).to_have_attribute("role", "log")
        expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "running")
        assert not khala.task(task)["done"]


def test_flood_is_bounded_and_stands_still_for_who_reads(page: Page, khala: Khala) -> None:
    with running_task(page, khala, f"{FLOOD}; {COUNT}"):
        pane = page.get_by_test_id("execute_stdout_live")
        follow = page.get_by_test_id("execute_stdout_follow")
        above = page.get_by_test_id("execute_stdout_above")
        expect(pane).to_contain_text(re.compile(r"counted 1\b"))
        expect(above).to_contain_text("are above what is shown")
        assert len(text_of(pane)) <= KEPT_BYTES
        assert pane.evaluate(PIXELS_BELOW) < 10

        pane.evaluate("(pane) => pane.scrollTo(0, 0)")
        expect(follow).to_contain_text("more")
        read = text_of(pane)
        more = follow.inner_text()
        expect(follow).not_to_have_text(more)
        assert text_of(pane) == read

        follow.click()
        expect(follow).to_have_count(0)
        assert counted(text_of(pane))[-1] > max(counted(read), default=0)
        assert pane.evaluate(PIXELS_BELOW) < 10

        with page.expect_download() as waiting:
            above.get_by_role("link").click()
        assert waiting.value.path().read_bytes().startswith(b"1\n2\n3\n")


def test_output_goes_on_after_a_lost_connection(page: Page, khala: Khala, watch: Watch) -> None:
    watch.failed_requests_are_meant = True
    with running_task(page, khala, COUNT):
        pane = page.get_by_test_id("execute_stdout_live")
        expect(pane).to_contain_text(re.compile(r"counted 3\b"))
        with killed_gateway(khala):
            expect(page.get_by_text("The connection was lost.")).to_be_visible()
            before = counted(text_of(pane))[-1]
            later = re.compile(rf"counted {before + 1}\b")
            expect(pane).to_contain_text(later, timeout=RESTART_TIMEOUT_MS)
        numbers = counted(text_of(pane))
        assert numbers == list(range(1, len(numbers) + 1))
