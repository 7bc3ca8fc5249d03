"""A cluster with users: who one is, tokens of one's own, signing out; users and the audit log."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Watch, new_context
from tests.browser.test_everyone import CHECKS, DESKTOP, PHONE
from tests.cluster.harness import Khala, ask, running

LONG_NAME = "n" * 64


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Khala, str]]:
    """A Khala that its first user closed, and that one's token."""
    with running(tmp_path_factory.mktemp("closed") / "data") as found:
        said = {"name": "ann", "role": "admin", "token": {"name": "first"}}
        status, made = found.send("POST", "/api/v2/users", said)
        assert status == 201
        yield found, made["token"]["secret"]


@pytest.fixture
def visitor(browser: Browser, closed: tuple[Khala, str]) -> Iterator[Page]:
    """Nobody yet. What is refused is meant."""
    khala, _ = closed
    watch = Watch(khala.url, failed_requests_are_meant=True)
    with new_context(browser, khala.url, watch) as context:
        yield context.new_page()
    assert not watch.troubles


def sign_in(page: Page, secret: str, path: str = "/tokens") -> None:
    page.goto(path)
    page.get_by_label("Token", exact=True).fill(secret)
    page.keyboard.press("Enter")


def test_a_token_is_made_shown_once_used_and_revoked(
    visitor: Page, closed: tuple[Khala, str], browser: Browser
) -> None:
    khala, secret = closed
    page = visitor
    sign_in(page, secret)
    me = page.get_by_test_id("me")
    expect(me).to_contain_text("ann")
    expect(me).to_contain_text("admin")
    expect(page.get_by_test_id("token-row")).to_have_count(1)

    page.get_by_test_id("make-token").click()
    expect(page.locator("#token-name-problem")).to_contain_text("Say what it is for")
    expect(page.locator("#token-name")).to_be_focused()
    page.keyboard.type("laptop")
    page.get_by_label("May do", exact=True).select_option("viewer")
    page.get_by_test_id("make-token").click()
    shown = page.get_by_test_id("secret")
    expect(shown).to_be_focused()
    laptop = shown.inner_text()
    assert laptop.startswith("kh_pat_")
    row = page.locator("[data-testid=token-row][data-name=laptop]")
    expect(row).to_contain_text("viewer")
    expect(row).to_contain_text("never used")

    watch = Watch(khala.url, failed_requests_are_meant=True)
    with new_context(browser, khala.url, watch) as context:
        other = context.new_page()
        sign_in(other, laptop)
        expect(other.get_by_test_id("me")).to_contain_text("viewer")
        # A token makes none that may more than itself.
        expect(other.get_by_label("May do", exact=True).locator("option")).to_have_count(2)

        page.reload()
        expect(row).to_be_visible()
        expect(page.get_by_test_id("secret")).to_have_count(0)
        row.get_by_test_id("revoke").click()
        page.get_by_test_id("confirm-yes").click()
        expect(row).to_have_count(0)
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        # Within seconds, and without a reload.
        expect(other.get_by_test_id("sign-in")).to_be_visible()
    assert not watch.troubles


def test_signing_out_ends_the_session(visitor: Page, closed: tuple[Khala, str]) -> None:
    _, secret = closed
    page = visitor
    sign_in(page, secret)
    page.get_by_test_id("sign-out").click()
    expect(page.get_by_test_id("sign-in")).to_be_visible()
    page.goto("/tasks")
    expect(page.get_by_test_id("sign-in")).to_be_visible()
    page.get_by_label("Token", exact=True).fill("kh_pat_" + "0" * 12 + "_" + "0" * 64)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("wrong, expired or revoked")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_pages_in(
    visitor: Page, closed: tuple[Khala, str], theme: str, size: tuple[int, int]
) -> None:
    _, secret = closed
    page = visitor
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
    sign_in(page, secret)
    page.get_by_label("What it is for").fill(LONG_NAME)
    page.get_by_test_id("make-token").click()
    expect(page.get_by_test_id("secret")).to_be_visible()
    assert page.evaluate(CHECKS) == []
    page.get_by_test_id("revoke").first.click()
    expect(page.get_by_test_id("confirm")).to_be_visible()
    assert page.evaluate(CHECKS) == []
    page.goto("/users")
    expect(page.get_by_test_id("user-row").first).to_be_visible()
    assert page.evaluate(CHECKS) == []
    page.goto("/audit")
    expect(page.get_by_test_id("audit-row").first).to_be_visible()
    assert page.evaluate(CHECKS) == []


def test_users_are_made_changed_and_deleted_and_that_is_noted(
    visitor: Page, closed: tuple[Khala, str]
) -> None:
    _, secret = closed
    page = visitor
    sign_in(page, secret)
    page.get_by_role("link", name="Users", exact=True).click()
    page.get_by_test_id("make-user").click()
    expect(page.locator("#user-name-problem")).to_contain_text("A user needs a name")
    page.get_by_label("Name", exact=True).fill("bob")
    page.get_by_test_id("make-user").click()
    expect(page.get_by_test_id("secret")).to_contain_text("kh_pat_")
    page.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_test_id("secret")).to_have_count(0)
    row = page.locator("[data-testid=user-row][data-name=bob]")
    role = row.get_by_label("Role of bob")
    expect(role).to_have_value("submitter")
    role.select_option("viewer")
    page.get_by_test_id("confirm-yes").click()
    expect(role).to_have_value("viewer")
    row.get_by_role("button", name="Disable").click()
    page.get_by_test_id("confirm-yes").click()
    expect(row).to_contain_text("disabled")

    # Somebody must be left who may do this.
    ann = page.locator("[data-testid=user-row][data-name=ann]")
    ann.get_by_role("button", name="Delete ann").click()
    page.get_by_test_id("confirm-yes").click()
    expect(page.get_by_role("alert")).to_contain_text("is the last administrator")
    page.get_by_role("button", name="Keep it").click()
    row.get_by_role("button", name="Delete bob").click()
    page.get_by_test_id("confirm-yes").click()
    expect(row).to_have_count(0)

    page.get_by_role("link", name="Audit log", exact=True).click()
    rows = page.get_by_test_id("audit-row")
    expect(rows.first).to_have_attribute("data-act", "user.delete")
    expect(rows.first).to_contain_text("bob")
    expect(rows.first).to_contain_text("done")
    expect(rows.nth(1)).to_contain_text("refused (409)")
    page.get_by_label("Act", exact=True).fill("user.create")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(2)  # ann's was noted as well
    expect(rows.last).to_contain_text("anybody")


def test_the_first_user_of_a_cluster_is_made_in_a_page(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It closes the cluster, and the token must not be lost with that."""
    with running(tmp_path_factory.mktemp("open") / "data") as khala:
        watch = Watch(khala.url, failed_requests_are_meant=True)
        with new_context(browser, khala.url, watch) as context:
            page = context.new_page()
            page.goto("/tokens")
            page.get_by_test_id("nobody").get_by_role("link", name="here").click()
            expect(page.get_by_test_id("no-users")).to_be_visible()
            expect(page.get_by_label("Role", exact=True)).to_have_value("admin")
            page.get_by_label("Name", exact=True).fill("root")
            page.get_by_test_id("make-user").click()
            secret = page.get_by_test_id("secret").inner_text()
            expect(page.get_by_test_id("me")).to_contain_text("root")
            expect(page.locator("[data-testid=user-row][data-name=root]")).to_be_visible()
            stranger = browser.new_context(base_url=khala.url)
            other = stranger.new_page()
            sign_in(other, secret, "/tasks")
            expect(other.get_by_test_id("no-tasks")).to_be_visible()
            stranger.close()
        assert not watch.troubles


def send_as(token: str, url: str, document: dict[str, Any]) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = json.dumps(document).encode()
    return ask(urllib.request.Request(url, data=data, headers=headers))


def token_of(khala: Khala, admin: str, name: str, role: str) -> str:
    """Of a new user."""
    said = {"name": name, "role": role, "token": {"name": "first"}}
    status, made = send_as(admin, f"{khala.url}/api/v2/users", said)
    assert status == 201, made
    return str(made["token"]["secret"])


def test_what_a_role_may_not_do_is_said_beforehand(
    visitor: Page, closed: tuple[Khala, str]
) -> None:
    khala, admin = closed
    spec = {"name": "of ann", "held": True, "stages": {"execute": {"command": "true"}}}
    status, task = send_as(admin, f"{khala.url}/api/v2/tasks", spec)
    assert status == 201, task
    viewer, submitter, operator = (
        token_of(khala, admin, name, role)
        for name, role in (("vic", "viewer"), ("sue", "submitter"), ("olga", "operator"))
    )
    page = visitor
    sign_in(page, viewer, f"/tasks/{task['id']}")
    cancel = page.get_by_test_id("cancel")
    expect(cancel).to_have_attribute("title", "This needs the role submitter; yours is viewer.")
    cancel.focus()
    page.keyboard.press("Enter")  # it can be reached, and does nothing
    expect(page.get_by_test_id("confirm")).to_have_count(0)
    expect(page.get_by_test_id("hold")).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_role("link", name="Operations")).to_have_count(0)
    assert page.evaluate(CHECKS) == []
    page.goto("/tasks/new")
    expect(page.get_by_test_id("barred")).to_contain_text("the role submitter; yours is viewer")
    page.goto("/users")
    expect(page.get_by_role("heading", level=1)).to_have_text("Users")
    expect(page.get_by_test_id("barred")).to_contain_text("Users are for administrators.")
    assert page.evaluate(CHECKS) == []

    page.context.clear_cookies()
    sign_in(page, submitter, f"/tasks/{task['id']}")
    expect(cancel).to_have_attribute(
        "title", re.compile(r"^It is user \d+'s; .* needs the role operator\.$")
    )
    page.goto("/executors")
    expect(page.get_by_role("button", name="Drain")).to_have_attribute("aria-disabled", "true")
    host = page.get_by_role("button", name="Host of")
    expect(host).to_have_attribute("title", "This needs the role operator; yours is submitter.")
    host.press("Enter")
    expect(page.get_by_test_id("host")).to_have_count(0)

    page.context.clear_cookies()
    sign_in(page, operator, "/operations")
    expect(page.get_by_test_id("no-backups")).to_be_visible()
    expect(page.get_by_test_id("join-tokens").get_by_test_id("barred")).to_contain_text("admin")
    quotas = page.get_by_test_id("quota-row").get_by_role("button", name="Edit")
    for barred in (quotas, page.get_by_test_id("keeping-edit")):
        expect(barred).to_have_attribute("aria-disabled", "true")
        expect(barred).to_contain_text("This needs the role admin")
    assert page.evaluate(CHECKS) == []
    page.goto(f"/tasks/{task['id']}")
    expect(page.get_by_test_id("me")).to_contain_text("operator")
    cancel.click()
    page.get_by_test_id("confirm-yes").click()
    expect(page.get_by_test_id("task-state")).to_have_attribute("data-state", "cancelled")
