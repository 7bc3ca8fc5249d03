"""What operators do in the pages: executors out of service, backups, what is not kept, who leads,
who may join."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from khala.net.ports import free_ports
from tests.browser.conftest import Watch, new_context
from tests.browser.test_everyone import CHECKS, DESKTOP, PHONE, Theme
from tests.cluster.harness import Khala, running, wait_until
from tests.cluster.nodes import Cluster, Node, gateway_of, growing, wait_ready
from tests.cluster.test_retention import age

#: Two stacks of several processes start here, on whatever the machine has.
pytestmark = pytest.mark.timeout(500)
ADDRESSES = ("127.0.0.41", "127.0.0.42")
#: Of what is restored into a MongoDB of its own, on a busy machine.
BACKUP_TIMEOUT_MS = 120_000
#: An executor looks at its host half a minute after it began, last in line for the processor.
LOOK_TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Khala]:
    """One host that keeps what ended within a month."""
    with running(
        tmp_path_factory.mktemp("alone") / "data", options=("--retention-age", "30d")
    ) as found:
        yield found


@pytest.fixture
def operator(browser: Browser, alone: Khala) -> Iterator[Page]:
    """That a cluster without certificates has no join tokens is meant to be refused."""
    watch = Watch(alone.url, failed_requests_are_meant=True)
    with new_context(browser, alone.url, watch) as context:
        yield context.new_page()
    assert not watch.troubles


@dataclass(frozen=True)
class Several:
    cluster: Cluster
    gateway: Khala
    executor: Node


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Several]:
    """Two judicators, with certificates, an executor and a gateway."""
    with growing(tmp_path_factory.mktemp("several")) as cluster:
        cluster.judicator("a", ADDRESSES[0])
        joining = ("--join", cluster.judicators, "--join-token-file")
        cluster.judicator("b", ADDRESSES[1], *joining, str(cluster.token_file("judicator")))
        executor = cluster.join("e", "executor", "--slots", "2")
        (port,) = free_ports(1)
        node = cluster.join("g", "gateway", "--http-port", str(port))
        gateway = gateway_of(node, port)
        wait_ready(gateway, node)
        yield Several(cluster, gateway, executor)


@pytest.fixture
def manager(browser: Browser, several: Several) -> Iterator[Page]:
    watch = Watch(several.gateway.url, failed_requests_are_meant=True)
    with new_context(browser, several.gateway.url, watch) as context:
        yield context.new_page()
    assert not watch.troubles


def test_an_executor_is_cordoned_drained_and_works_again(operator: Page, alone: Khala) -> None:
    page = operator
    (name,) = [each["name"] for each in alone.call("GET", "/api/v2/nodes")[1]["executors"]]
    page.goto("/executors")
    page.get_by_role("button", name=f"Cordon {name}").click()
    page.get_by_label("Reason", exact=True).fill("a new disk")
    page.get_by_test_id("confirm-yes").click()
    expect(page.get_by_test_id("cordon")).to_contain_text("“a new disk”")
    expect(page.get_by_role("heading", level=1)).to_be_focused()

    page.get_by_role("button", name=f"Drain {name}").press("Enter")
    page.get_by_label("Empty within", exact=True).fill("30d")
    page.get_by_test_id("confirm-yes").click()
    expect(page.locator("#drain-deadline-problem")).to_contain_text("more than the maximum")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was changed")
    page.get_by_label("Empty within", exact=True).fill("2h")
    page.get_by_test_id("confirm-yes").click()
    expect(page.get_by_test_id("cordon")).to_contain_text("to be empty in")

    page.get_by_role("button", name=f"Uncordon {name}").click()
    expect(page.get_by_test_id("cordon")).to_have_count(0)
    assert alone.call("GET", f"/api/v2/nodes/{name}/cordon")[1]["cordon"] is None


def test_what_a_nodes_host_lacks_is_shown(operator: Page, alone: Khala) -> None:
    page = operator
    (name,) = [each["name"] for each in alone.call("GET", "/api/v2/nodes")[1]["executors"]]

    def looks() -> dict[str, list[str]]:
        items = alone.call("GET", f"/api/v2/nodes/{name}/doctor")[1]["items"]
        return {each["role"]: [found["check"] for found in each["findings"]] for each in items}

    wait_until(lambda: "executor" in looks(), LOOK_TIMEOUT_S, "a look at the executor's host")
    page.goto("/cluster")
    button = page.get_by_test_id("executors").get_by_role("button", name=f"Host of {name}")
    button.press("Enter")
    look = page.get_by_test_id("host").locator('[data-role="executor"]')
    expect(look).to_contain_text("ago")
    expect(look.get_by_test_id("able")).to_have_text(re.compile("^ *(Able|Not able) to work: "))
    found = look.get_by_test_id("finding")
    expect(found).to_have_count(len(looks()["executor"]))
    expect(found.locator("b", has_text=re.compile("^sandbox$"))).to_be_visible()
    order = ["missing", "warning", "good"]
    levels = [str(each.get_attribute("data-level")) for each in found.all()]
    assert levels == sorted(levels, key=order.index)
    assert page.evaluate(CHECKS) == []

    page.keyboard.press("Escape")
    expect(page.get_by_test_id("host")).to_have_count(0)
    expect(button).to_be_focused()


def test_a_host_that_was_not_looked_at_and_one_that_cannot_be_read(
    operator: Page, alone: Khala
) -> None:
    """And what is not good stands first, with what repairs it, whatever this host lacks."""
    page = operator
    clock = {"check": "clock", "level": "good", "found": "synchronised", "repair": None}
    disk = {"check": "disk", "level": "missing", "found": "full", "repair": "rm -r /var/tmp/x"}
    look = {"role": "judicator", "at": "2026-01-01T00:00:00Z", "able": False}
    problem = {"code": "unavailable", "title": "Unavailable", "detail": "no judicator answers"}
    documents: list[tuple[int, dict[str, object]]] = [
        (200, {"items": []}),
        (200, {"items": [{**look, "findings": [clock, disk]}]}),
        (503, {**problem, "status": 503}),
    ]
    answers = iter(documents)

    def answer(route: Route) -> None:
        status, document = next(answers)
        route.fulfill(status=status, json=document)

    page.route("**/api/v2/nodes/*/doctor", answer)
    page.goto("/judicators")
    button = page.get_by_role("button", name="Host of")
    host = page.get_by_test_id("host")
    button.click()
    expect(host.get_by_test_id("no-look")).to_contain_text("has not looked at its host yet")
    host.get_by_role("button", name="Close").click()

    button.click()
    expect(host.get_by_test_id("able")).to_have_text("Not able to work: 1 missing")
    first = host.get_by_test_id("finding").first
    expect(first).to_contain_text("Missing")
    expect(first.get_by_test_id("repair")).to_have_text("rm -r /var/tmp/x")
    expect(first.get_by_role("button", name="Copy what repairs disk")).to_be_visible()
    host.get_by_role("button", name="Close").click()

    button.click()
    expect(host.get_by_test_id("failure")).to_contain_text("No judicator answers.")


def test_a_backup_is_taken_verified_downloaded_and_removed(operator: Page, alone: Khala) -> None:
    page = operator
    alone.wait_done(alone.submit())
    page.goto("/operations")
    expect(page.get_by_test_id("no-backups")).to_be_visible()
    page.get_by_test_id("take-backup").click()
    row = page.get_by_test_id("backup-row")
    expect(row).to_contain_text("Being taken")
    expect(row.get_by_role("button", name="Remove")).to_have_count(0)
    expect(row).to_contain_text("Verified", timeout=BACKUP_TIMEOUT_MS)
    row.get_by_test_id("verify").click()
    expect(row).to_contain_text("Being verified")
    expect(row).to_contain_text("Verified", timeout=BACKUP_TIMEOUT_MS)
    with page.expect_download() as waiting:
        row.get_by_test_id("download").click()
    with tarfile.open(waiting.value.path()) as archive:
        assert archive.getnames()
    row.get_by_test_id("remove-backup").click()
    page.get_by_test_id("confirm-yes").click()
    expect(row).to_have_count(0)
    expect(page.get_by_role("heading", name="Backups")).to_be_focused()
    assert alone.call("GET", "/api/v2/backups")[1]["items"] == []


def test_what_would_go_is_seen_before_it_goes(operator: Page, alone: Khala) -> None:
    page = operator
    page.goto("/operations")
    look, go = page.get_by_test_id("collect-look"), page.get_by_test_id("collect-go")

    def would_go() -> str | None:
        """The leader looks by itself, too, and may be the first."""
        task = alone.submit()
        alone.wait_done(task)
        with ThreadPoolExecutor(1) as thread:  # this one has the browser's event loop
            thread.submit(age, alone).result()
        look.click()
        expect(page.get_by_test_id("collected")).to_contain_text("what ended within 30 d")
        expect(look).to_be_enabled()
        return task if go.is_visible() else None

    task = wait_until(would_go, 120, "something would go")
    go.click()
    expect(page.get_by_test_id("confirm")).to_contain_text("This cannot be undone.")
    page.get_by_test_id("confirm-yes").click()
    expect(page.get_by_test_id("collected")).to_contain_text(re.compile(r"\bwent\b"))
    expect(go).to_have_count(0)
    # A judicator remembers what ended there less than half a minute ago, whatever its date.
    path = f"/api/v2/tasks/{task}"
    wait_until(lambda: alone.call("GET", path)[0] == 404, 120, "the task is gone")


def test_a_page_that_cannot_be_fetched_says_so(operator: Page) -> None:
    page = operator
    page.route(re.compile(r"/assets/Operations-.*\.js$"), lambda route: route.abort())
    page.goto("/executors")
    page.get_by_role("link", name="Operations").click()
    expect(page.get_by_test_id("not-fetched")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.unroute_all()
    page.get_by_role("button", name="Reload").click()
    expect(page.get_by_test_id("backups")).to_be_visible()


def test_another_judicator_leads(manager: Page, several: Several) -> None:
    page = manager
    page.goto("/operations")
    leads = page.get_by_test_id("leader")
    expect(leads).to_have_text(re.compile(r"^[ab] leads\."))
    other = "b" if leads.inner_text().startswith("a") else "a"
    page.get_by_label("Who is to lead").select_option(other)
    page.get_by_test_id("transfer").click()
    expect(leads).to_have_text(f"{other} leads now.")
    page.goto("/judicators")
    expect(page.get_by_role("row").filter(has_text="Leader")).to_contain_text(other)


def test_a_join_token_is_made_shown_once_and_revoked(manager: Page, several: Several) -> None:
    page = manager
    page.goto("/operations")
    expect(page.get_by_test_id("no-join-tokens")).to_be_visible()
    page.get_by_label("Hosts", exact=True).fill("none")
    page.get_by_test_id("make-join-token").click()
    expect(page.locator("#join-uses-problem")).to_contain_text("A whole number")
    expect(page.locator("#join-uses")).to_be_focused()
    page.get_by_label("Hosts", exact=True).fill("3")
    page.get_by_test_id("make-join-token").click()
    secret = page.get_by_test_id("secret")
    expect(secret).to_be_focused()
    assert "::executor." in secret.inner_text()
    row = page.get_by_test_id("join-token-row")
    expect(row).to_contain_text("3 of 3 uses left")
    page.reload()
    expect(row).to_be_visible()
    expect(secret).to_have_count(0)
    row.get_by_test_id("revoke-join-token").click()
    page.get_by_test_id("confirm-yes").click()
    expect(row).to_have_count(0)
    assert several.gateway.call("GET", "/api/v2/cluster/join-tokens")[1]["items"] == []


def test_an_executor_that_is_lost_is_forgotten(manager: Page, several: Several) -> None:
    """The last of these tests: its executor does not come back."""
    page = manager
    page.goto("/executors")
    row = page.get_by_test_id("executors").locator("tbody tr")
    expect(row).to_have_attribute("data-state", "online")
    expect(page.get_by_role("button", name="Forget e")).to_have_count(0)
    # Whoever looked a moment too early is told what to do.
    status, refusal = several.gateway.call("DELETE", "/api/v2/nodes/e")
    assert status == 409 and "is not lost" in refusal["detail"]
    several.executor.stop()
    expect(row).to_have_attribute("data-state", "lost", timeout=BACKUP_TIMEOUT_MS)
    page.get_by_role("button", name="Forget e").click()
    page.get_by_test_id("confirm-yes").click()
    expect(page.get_by_test_id("no-executors")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_in(operator: Page, alone: Khala, theme: Theme, size: tuple[int, int]) -> None:
    page = operator
    less = {"keeping": {"retention": {"count": 1000, "size_bytes": 200 << 30}}}
    assert alone.send("PATCH", "/api/v2/cluster/config", less)[0] == 200
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.goto("/operations")
    expect(page.get_by_test_id("no-joining")).to_contain_text("no certificates")
    expect(page.get_by_test_id("quota-row")).to_have_count(1)
    expect(page.get_by_test_id("keeping-coming").get_by_role("listitem")).to_have_count(2)
    page.get_by_test_id("collect-look").click()
    expect(page.get_by_test_id("collected")).to_be_visible()
    assert page.evaluate(CHECKS) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
    page.get_by_test_id("quota-new").click()
    assert page.evaluate(CHECKS) == []
    page.get_by_role("button", name="Leave it").click()
    page.get_by_test_id("keeping-edit").click()
    page.get_by_label("Ended tasks, by age").fill("1d")
    expect(page.get_by_test_id("keeping-effects")).to_contain_text("After a day")
    assert page.evaluate(CHECKS) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
    page.goto("/executors")
    page.get_by_role("button", name="Drain").click()
    expect(page.get_by_test_id("confirm")).to_be_visible()
    assert page.evaluate(CHECKS) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
