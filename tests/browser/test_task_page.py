"""The page of one task: what it shows, what it hands out, and what can be done from it."""

from __future__ import annotations

import io
import re
import urllib.parse
import zipfile

from playwright.sync_api import FilePayload, Page, expect

from tests.browser.test_first_task import shown_task
from tests.cluster.harness import Khala

#: No text: every byte there is, and both line ends.
BYTES = bytes(range(256)) + b"\r\nend"
MARKUP = "<script>document.title = 'taken'</script><b>&amp;</b>\n"


def archive(**files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return made.getvalue()


def payload(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/zip", "buffer": content}


def downloads(page: Page) -> dict[str, bytes]:
    """What each download link of the page really gives, by the name of the file."""
    found = {}
    for link in page.locator("a[download]").all():
        query = urllib.parse.urlsplit(str(link.get_attribute("href"))).query
        with page.expect_download() as waiting:
            link.click()
        found[urllib.parse.parse_qs(query)["file"][0]] = waiting.value.path().read_bytes()
    return found


def test_uploaded_zips_are_unpacked_and_every_download_is_exact(page: Page, khala: Khala) -> None:
    source = archive(**{"main.sh": b"cat data/table.bin", "sub/note.txt": b"beside"})
    data = archive(**{"table.bin": BYTES})
    compile_command = "cat sub/note.txt; printf '\\377 odd' >&2"
    page.goto("/add")
    page.get_by_label("User Id", exact=True).fill("401")
    for group, label, name, content in (
        ("Source", "Compile Source Zip", "source.zip", source),
        ("Data", "Execute Data Zip", "data.zip", data),
    ):
        page.get_by_role("group", name=group, exact=True).get_by_text("Upload a zip").click()
        page.get_by_label(label, exact=True).set_input_files(payload(name, content))
        expect(page.get_by_text(name)).to_be_visible()
    page.get_by_label("Compile Command", exact=True).fill(compile_command)
    page.get_by_label("Compile Timeout", exact=True).fill("10")
    page.get_by_label("Execute Input", exact=True).fill("grüße\n")
    page.get_by_label("Execute Command", exact=True).fill("bash main.sh; cat >&2")
    page.get_by_label("Execute Timeout", exact=True).fill("10")
    page.get_by_label("Execute Standard", exact=True).fill("never compared")
    page.get_by_test_id("submit-task").click()
    shown_task(page)
    expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "succeeded")
    assert downloads(page) == {
        "compile_source": source,
        "compile_command": compile_command.encode(),
        "compile_output": b"beside",
        "compile_error": b"\xff odd",
        "execute_data": data,
        "execute_command": b"bash main.sh; cat >&2",
        "execute_input": "grüße\n".encode(),
        "execute_output": BYTES,
        "execute_error": "grüße\n".encode(),
        "execute_standard": b"never compared",
    }


def test_long_output_is_cut_on_the_page_and_whole_in_the_download(page: Page, khala: Khala) -> None:
    task = khala.submit(execute_command="seq 100000", execute_timeout="10")
    khala.wait_done(task)
    page.goto(f"/get?id={task}")
    expect(page.get_by_text("The first 64 KiB are shown.")).to_be_visible()
    assert len(page.get_by_test_id("execute_output").inner_text()) <= 64 * 1024
    whole = "".join(f"{number}\n" for number in range(1, 100001)).encode()
    assert downloads(page)["execute_output"] == whole


def test_markup_in_output_is_text(page: Page, khala: Khala) -> None:
    task = khala.submit(execute_input=MARKUP, execute_command="cat", execute_timeout="10")
    khala.wait_done(task)
    page.goto(f"/tasks/{task}")
    expect(page.get_by_test_id("execute_output")).to_have_text(MARKUP.strip())
    expect(page.get_by_test_id("execute_input")).to_have_text(MARKUP.strip())
    assert page.title() != "taken"


def test_headline_says_why_a_task_failed(page: Page, khala: Khala) -> None:
    slow = khala.submit(execute_command="sleep 20", execute_timeout="1")
    broken = khala.submit(compile_command="echo no such thing >&2; exit 3")
    for task, badge, said in (
        (
            slow,
            "Run failed",
            re.compile(r"Execute: killed after .* of wall time \(limit 1\.00 s\)"),
        ),
        (broken, "Compile failed", "The compile command exited with code 3."),
    ):
        khala.wait_done(task)
        page.goto(f"/tasks/{task}")
        expect(page.get_by_test_id("task-state")).to_contain_text(badge)
        expect(page.get_by_test_id("task-headline")).to_have_text(said)
    expect(page.get_by_test_id("compile_error")).to_have_text("no such thing")
    expect(page.get_by_test_id("stage-execute")).not_to_contain_text("exited")


def test_page_says_why_a_task_waits(page: Page, khala: Khala) -> None:
    need = {"require": {"arch": "z80"}}
    stages = {"execute": {"command": "true"}}
    spec = {"placement": need, "stages": stages, "retention": "2h"}
    task = page.request.post(f"{khala.url}/api/v2/tasks", data=spec).json()["id"]
    page.goto(f"/tasks/{task}")
    expect(page.get_by_test_id("retention")).to_have_text("2 h after its end")
    waiting = page.get_by_test_id("waiting")
    expect(waiting.locator("[data-code=label]")).to_contain_text("has not the label arch=z80")
    headline = page.get_by_test_id("task-headline")
    expect(headline).to_contain_text("No online executor can run it")
    expect(headline).to_contain_text("has not the label arch=z80")
    khala.call("DELETE", f"/api/task?id={task}")
    expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "cancelled")
    expect(waiting).to_have_count(0)
    expect(page.get_by_test_id("removed-after").locator("time")).to_be_visible()


def test_cancel_a_running_task(page: Page, khala: Khala) -> None:
    task = khala.submit(execute_command="sleep 60", execute_timeout="90")
    page.goto(f"/tasks/{task}")
    state = page.get_by_test_id("task-state")
    expect(state).to_have_attribute("data-state", "running")
    page.get_by_test_id("cancel").click()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("confirm")).to_have_count(0)
    expect(page.get_by_test_id("cancel")).to_be_focused()
    expect(state).to_have_attribute("data-state", "running")

    page.get_by_test_id("cancel").click()
    page.get_by_test_id("confirm-yes").click()
    expect(state).to_have_attribute("data-state", "cancelled")
    expect(page.get_by_test_id("cancel")).to_have_count(0)
    assert khala.wait_done(task)["status"] == 7


def test_edit_and_rerun_starts_from_the_same_files(page: Page, khala: Khala) -> None:
    first = khala.submit(
        user="402",
        compile_source_name="say.sh",
        compile_source_str="cat\n",
        execute_command="bash say.sh",
        execute_input="once",
        execute_timeout="10",
    )
    khala.wait_done(first)
    page.goto(f"/tasks/{first}")
    page.get_by_test_id("rerun").click()
    expect(page.get_by_label("User Id", exact=True)).to_have_value("402")
    expect(page.get_by_label("Execute Command", exact=True)).to_have_value("bash say.sh")
    page.get_by_label("Execute Input", exact=True).fill("twice")
    page.get_by_test_id("submit-task").click()
    expect(page.get_by_test_id("execute_output")).to_have_text("twice")
    assert shown_task(page) != first
    assert khala.task(first)["execute"]["input"] == "once"
