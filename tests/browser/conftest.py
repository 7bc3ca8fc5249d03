"""A real browser on a real Khala: what people see is judged by what Debian's Chromium shows.

Every page of every test is watched: an error on its console, a violation of the content security
policy or a request to another host fails the test that met it, whatever else it looked at.
"""

from __future__ import annotations

import contextlib
import dataclasses
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.cluster.harness import PEX, Khala, running, wait_until

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",  # the tests run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Scripts added by a test are exempt from the policy, so that they can tell of its violations.
TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} blocked ${event.blockedURI}`));
"""
#: Costs nothing where it is met; a busy machine needs it.
ACTION_TIMEOUT_MS = 60_000
#: Until a killed gateway serves again; the pages take up to 15 s more to try.
RESTART_TIMEOUT_S = 120.0
RESTART_TIMEOUT_MS = 1000 * (RESTART_TIMEOUT_S + 30)

#: May have two tasks waiting; one test module alone knows this user.
BOUNDED_USER = 306

expect.set_options(timeout=ACTION_TIMEOUT_MS)


@dataclasses.dataclass  # without slots: Playwright keeps its wrappers of handlers on their object
class Watch:
    """What went wrong on the pages of one test without anybody seeing it."""

    origin: str
    #: Chromium reports every refused or broken request on the console; set where one is meant.
    failed_requests_are_meant: bool = False
    troubles: list[str] = dataclasses.field(default_factory=list)

    def attach(self, context: BrowserContext) -> None:
        context.add_init_script(TELL_VIOLATIONS)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.troubles.append(f"uncaught: {error.error}"))
        context.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning"}:
            return
        if self.failed_requests_are_meant and message.text.startswith("Failed to load resource"):
            return
        self.troubles.append(f"console: {message.text}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.origin + "/", "data:", "blob:")):
            self.troubles.append(f"asked another host: {request.url}")


@contextlib.contextmanager
def new_context(
    browser: Browser, origin: str, watch: Watch, timezone: str = "UTC"
) -> Iterator[BrowserContext]:
    """A visitor of `origin` with no past."""
    found = browser.new_context(
        base_url=origin, viewport={"width": 1280, "height": 800}, timezone_id=timezone
    )
    found.set_default_timeout(ACTION_TIMEOUT_MS)
    watch.attach(found)
    yield found
    found.close()


@pytest.fixture(scope="session")
def khala(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Khala]:
    assert PEX.exists(), f"{PEX} is missing: build/test builds it, or run build/up once"
    data = tmp_path_factory.mktemp("browser") / "data"
    with running(data, options=("--quota-user", f"{BOUNDED_USER}:queued=2")) as found:
        yield found


@contextlib.contextmanager
def killed_gateway(khala: Khala) -> Iterator[None]:
    """Kill it; whatever comes of the test, it serves the next one."""
    before = khala.pid_of("gateway")

    def serves_again() -> bool:
        with contextlib.suppress(AssertionError, OSError):
            answer = urllib.request.urlopen(f"{khala.url}/readyz", timeout=10)
            with answer:
                return khala.pid_of("gateway") != before
        return False

    khala.kill9("gateway")
    try:
        yield
    finally:
        wait_until(serves_again, RESTART_TIMEOUT_S, "another gateway serves")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def watch(khala: Khala) -> Iterator[Watch]:
    found = Watch(khala.url)
    yield found
    assert not found.troubles


@pytest.fixture
def context(browser: Browser, khala: Khala, watch: Watch) -> Iterator[BrowserContext]:
    with new_context(browser, khala.url, watch) as found:
        yield found


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()
