"""The files a task left, and what the compile cache did, as the pages show them."""

from __future__ import annotations

import io
import json
import secrets
import urllib.request
import zipfile
from typing import Any

from playwright.sync_api import Page, expect

from tests.cluster.harness import Khala


def run(khala: Khala, compile_command: str, execute: str, *collect: str) -> str:
    """A finished task's id."""
    document: dict[str, Any] = {
        "stages": {"compile": {"command": compile_command}, "execute": {"command": execute}}
    }
    if collect:
        document["artifacts"] = {"collect": list(collect), "max_total": "1MiB"}
    request = urllib.request.Request(
        f"{khala.url}/api/v2/tasks?wait=60s",
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=90) as response:
        task = json.loads(response.read())
    assert task["state"] == "succeeded", task
    return str(task["id"])


def test_every_artifact_can_be_saved(page: Page, khala: Khala) -> None:
    command = r"""
        mkdir out; printf svg > 'out/<b>plot.svg'; printf log > $'out/two\nlines.log'
        head -c 2M /dev/zero > out/huge; ln -s /etc/passwd out/link
    """
    task = run(khala, "true", command, "out/**")
    page.goto(f"/tasks/{task}")
    section = page.get_by_test_id("artifacts")
    expect(section.get_by_text("2 files")).to_be_visible()
    saved = {}
    links = section.locator("li a[download]")
    expect(links).to_have_count(2)
    for link in links.all():
        with page.expect_download() as waiting:
            link.click()
        saved[str(link.text_content()).strip()] = waiting.value.path().read_bytes()
    assert list(saved.values()) == [b"svg", b"log"]
    assert next(iter(saved)) == "out/<b>plot.svg"
    with page.expect_download() as waiting:
        page.get_by_test_id("artifacts-zip").click()
    with zipfile.ZipFile(io.BytesIO(waiting.value.path().read_bytes())) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [b"svg", b"log"]
    left_out = page.get_by_test_id("left-out")
    expect(left_out).to_have_count(2)
    expect(left_out.filter(has_text="out/huge")).to_contain_text("more bytes than are kept")
    expect(left_out.filter(has_text="out/link")).to_contain_text("not a plain file")


def test_a_task_that_asked_for_none_says_nothing(page: Page, khala: Khala) -> None:
    page.goto(f"/tasks/{run(khala, 'true', 'echo 1')}")
    expect(page.get_by_test_id("stage-execute")).to_be_visible()
    expect(page.get_by_test_id("artifacts")).to_have_count(0)


def test_a_stage_from_the_cache_says_so(page: Page, khala: Khala) -> None:
    command = f"echo {secrets.token_hex(8)}"
    page.goto(f"/tasks/{run(khala, command, 'echo 1')}")
    expect(page.get_by_test_id("stage-compile")).to_be_visible()
    expect(page.get_by_test_id("compile-cache")).to_have_count(0)
    page.goto(f"/tasks/{run(khala, command, 'echo 2')}")
    expect(page.get_by_test_id("compile-cache")).to_have_text("from the cache")
    # The count comes with a heartbeat, and the page reads it by itself.
    page.goto("/cluster")
    expect(page.get_by_test_id("executors").get_by_text("%")).to_be_visible(timeout=30_000)
