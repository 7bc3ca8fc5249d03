"""The README's first task, as a person gives it: with mouse and keyboard, and without a mouse."""

from __future__ import annotations

import io
import re
import zipfile

from playwright.sync_api import Page, Request, expect

from tests.cluster.harness import README_TASK, Khala

SOURCE = str(README_TASK["compile_source_str"])
TASK_ADDRESS = re.compile(r"/tasks/([0-9a-f]{24})$")


def shown_task(page: Page) -> str:
    """The id in the address, once the page of a task is open."""
    expect(page).to_have_url(TASK_ADDRESS)
    found = TASK_ADDRESS.search(page.url)
    assert found
    return found[1]


def expect_greeting(page: Page) -> None:
    """The page gets there by itself: a reload would be a request for the document."""
    expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "succeeded")
    expect(page.get_by_test_id("task-state")).to_contain_text("Succeeded")
    expect(page.get_by_test_id("execute_output")).to_have_text("From Khala: Hello World!")


def source_of(khala: Khala, task: str, page: Page) -> dict[str, str]:
    """The files that were really submitted, without what indents their lines."""
    archive = page.request.get(f"{khala.url}/api/task?id={task}&file=compile_source").body()
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        return {name: words_of(found.read(name).decode()) for name in found.namelist()}


def words_of(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def test_readme_walk_through(page: Page, khala: Khala) -> None:
    documents: list[str] = []

    def note(request: Request) -> None:
        if request.is_navigation_request():
            documents.append(request.url)

    page.on("request", note)
    page.goto("/")
    page.get_by_role("link", name="Add", exact=True).click()
    page.get_by_label("User Id", exact=True).fill("0")
    page.get_by_label("Compile Source File Name", exact=True).fill("main.cpp")
    page.get_by_test_id("compile_source_str").locator(".cm-content").wait_for()
    page.get_by_label("Compile Source Text", exact=True).click()
    page.keyboard.type(SOURCE)
    page.get_by_label("Compile Command", exact=True).fill("g++ -g -Wall -o main main.cpp")
    page.get_by_label("Compile Timeout", exact=True).fill("10")
    page.get_by_label("Execute Input", exact=True).fill("Hello World!")
    page.get_by_label("Execute Command", exact=True).fill("./main")
    page.get_by_label("Execute Timeout", exact=True).fill("1")
    page.get_by_role("button", name="Add", exact=True).click()

    task = shown_task(page)
    expect_greeting(page)
    expect(page.get_by_test_id("task-headline")).to_have_text("Both commands exited with 0.")
    assert documents == [f"{khala.url}/"]
    assert source_of(khala, task, page) == {"main.cpp": words_of(SOURCE)}


def test_example_button_fills_in_the_readme_task(page: Page, khala: Khala) -> None:
    page.goto("/add")
    page.get_by_test_id("example").click()
    page.get_by_test_id("submit-task").click()
    task = shown_task(page)
    expect_greeting(page)
    assert source_of(khala, task, page) == {"main.cpp": words_of(SOURCE)}


def test_form_without_a_mouse(page: Page) -> None:
    """Tab reaches every field in the order of the form, and the editor does not keep the focus."""
    page.goto("/tasks/new")
    page.get_by_test_id("compile_source_str").locator(".cm-content").wait_for()
    page.get_by_label("User Id", exact=True).focus()

    def type_then_tab(label: str, text: str) -> None:
        expect(page.get_by_label(label, exact=True)).to_be_focused()
        page.keyboard.type(text)
        page.keyboard.press("Tab")

    type_then_tab("User Id", "7")
    expect(page.locator("input[name=compile_source-via]:checked")).to_be_focused()
    page.keyboard.press("Tab")
    type_then_tab("Compile Source File Name", "say.sh")
    expect(page.get_by_label("Compile Source Text", exact=True)).to_be_focused()
    page.keyboard.type("cat; echo from a keyboard\n")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    type_then_tab("Compile Command", "true")
    type_then_tab("Compile Timeout", "10")
    expect(page.locator("input[name=input-via]:checked")).to_be_focused()
    page.keyboard.press("Tab")
    type_then_tab("Execute Input", "typed")
    page.keyboard.press("Tab")
    type_then_tab("Execute Data File Name", "")
    type_then_tab("Execute Command", "bash say.sh")
    type_then_tab("Execute Timeout", "10")
    expect(page.get_by_label("Execute Standard", exact=True)).to_be_focused()
    page.keyboard.press("Control+Enter")

    shown_task(page)
    expect(page.get_by_test_id("execute_output")).to_have_text("typedfrom a keyboard")


def test_refused_form_says_where_and_keeps_what_was_typed(page: Page) -> None:
    page.goto("/tasks/new")
    page.get_by_label("User Id", exact=True).fill("-1")
    page.get_by_label("Compile Source File Name", exact=True).fill("main.cpp")
    page.get_by_test_id("submit-task").click()

    summary = page.get_by_test_id("problems")
    expect(summary).to_be_focused()
    for label in ("User Id", "Compile Source Text", "Compile Timeout", "Execute Timeout"):
        expect(summary).to_contain_text(label)
    expect(page.get_by_label("User Id", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Compile Source File Name", exact=True)).to_have_value("main.cpp")
    expect(page).to_have_url(re.compile("/tasks/new$"))
