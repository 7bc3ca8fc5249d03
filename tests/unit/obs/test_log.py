"""Events: their fields, what is masked, what is left out, and where they go."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from khala.model.errors import Rejected
from khala.obs import log as obs

CONTEXT = {"role": "executor", "name": "e1", "version": "1.2.3"}
Setup = Callable[..., io.StringIO]


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    """Set up with options; what was written. Undone after the test."""
    handlers, level = logging.root.handlers[:], logging.root.level

    def setup(level: str = "info", form: str = "json", file: Path | None = None) -> io.StringIO:
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        options = obs.LogOptions(level=level, form=form, file=str(file) if file else None)
        obs.setup(CONTEXT, options)
        return stderr

    yield setup
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_fields_of_an_event(setup: Setup) -> None:
    stderr = setup()
    log = structlog.get_logger()
    log.bind(component="etcd").info("task.leased", task="t1", attempt=2)
    log.info("node.named", name="another")
    first, second = events(stderr.getvalue())
    assert list(first) == [
        *("ts", "level", "event", "role", "name", "component"),
        *("version", "task", "attempt"),
    ]
    assert first["ts"].endswith("Z")
    del first["ts"]
    assert first == {
        **CONTEXT,
        "level": "info",
        "event": "task.leased",
        "component": "etcd",
        "task": "t1",
        "attempt": 2,
    }
    assert second["name"] == "another"


def test_levels_are_a_threshold(setup: Setup) -> None:
    stderr = setup(level="warning")
    log = structlog.get_logger()
    log.info("a.b")
    log.warning("a.c")
    log.error("a.d")
    assert [event["level"] for event in events(stderr.getvalue())] == ["warning", "error"]


def test_secrets_are_masked_by_key_files_are_not(setup: Setup) -> None:
    stderr = setup()
    structlog.get_logger().info(
        "a.b",
        secret="s1",
        http_token="s2",
        headers={"Authorization": "Bearer s3", "Cookie": "s4", "Host": "h", 5: {"password": "s5"}},
        token_file="/etc/token",
    )
    text = stderr.getvalue()
    assert not any(f"s{number}" in text for number in range(1, 6))
    (event,) = events(text)
    assert event["secret"] == event["http_token"] == "***"
    assert event["headers"] == {
        "Authorization": "***",
        "Cookie": "***",
        "Host": "h",
        "5": {"password": "***"},
    }
    assert event["token_file"] == "/etc/token"


def test_a_traceback_is_part_of_the_event(setup: Setup) -> None:
    stderr = setup()
    try:
        int("why")
    except ValueError as error:
        structlog.get_logger().error("a.b", exc_info=error)
    (event,) = events(stderr.getvalue())
    assert event["exception"].startswith("Traceback")
    assert "ValueError: invalid literal" in event["exception"]


def test_any_value_can_be_logged(setup: Setup) -> None:
    stderr = setup()
    structlog.get_logger().info("a.b", path=Path("/x"), odd="\udcff", many={1})
    (event,) = events(stderr.getvalue())
    assert (event["path"], event["odd"], event["many"]) == ("/x", "\udcff", "{1}")


def test_console_is_for_people(setup: Setup) -> None:
    text = setup(form="console")
    structlog.get_logger().warning("link.dropped", why="a reason")
    line = text.getvalue()
    assert line.count("\n") == 1
    assert "link.dropped" in line
    assert "a reason" in line
    assert "\x1b" not in line


def test_auto_is_json_unless_stderr_is_a_terminal(setup: Setup) -> None:
    stderr = setup(form="auto")
    structlog.get_logger().info("a.b")
    assert events(stderr.getvalue())[0]["event"] == "a.b"


def test_libraries_are_heard_from_warnings_on(setup: Setup) -> None:
    stderr = setup()
    logging.getLogger("some.library").info("not this")
    logging.getLogger("some.library").warning("%s is odd", "this")
    try:
        int("why")
    except ValueError:
        logging.getLogger("other").exception("broke")
    warning, error = events(stderr.getvalue())
    assert (warning["event"], warning["component"]) == ("library.said", "some.library")
    assert (warning["level"], warning["text"]) == ("warning", "this is odd")
    assert (error["level"], error["text"]) == ("error", "broke")
    assert "ValueError: invalid literal" in error["exception"]


def test_repeated_warnings_are_thinned_out_and_counted() -> None:
    now = 0.0
    limit = obs.RateLimit(lambda: now)

    def passes(event: str, level: str = "warning") -> dict[str, Any] | None:
        try:
            return dict(limit(None, "", {"event": event, "level": level}))
        except structlog.DropEvent:
            return None

    for _ in range(obs.LIMIT_EVENTS):
        assert passes("a.b") == {"event": "a.b", "level": "warning"}
    assert [passes("a.b") for _ in range(3)] == [None] * 3
    assert passes("c.d")
    assert passes("a.b", "error")
    now = obs.LIMIT_PERIOD_S
    assert passes("a.b") == {"event": "a.b", "level": "warning", "left_out": 3}
    assert passes("a.b") == {"event": "a.b", "level": "warning"}


def test_a_file_gets_every_event_as_json_and_follows_a_rotation(
    setup: Setup, tmp_path: Path
) -> None:
    file, moved = tmp_path / "khala.log", tmp_path / "khala.log.1"
    stderr = setup(form="console", file=file)
    log = structlog.get_logger()
    log.info("a.b", token="s1")
    file.rename(moved)
    log.info("c.d")
    assert [event["event"] for event in events(moved.read_text())] == ["a.b"]
    assert [event["event"] for event in events(file.read_text())] == ["c.d"]
    assert "s1" not in moved.read_text()
    assert {"a.b", "c.d"} <= set(stderr.getvalue().split())
    assert file.stat().st_mode & 0o007 == 0


def test_a_file_that_cannot_be_opened_is_refused(setup: Setup, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"--log-file: .* cannot be written: Is a directory"):
        setup(file=tmp_path)


def test_a_stream_that_is_gone_costs_only_the_log(setup: Setup, tmp_path: Path) -> None:
    file = tmp_path / "folder" / "khala.log"
    file.parent.mkdir()
    stderr = setup(file=file)
    log = structlog.get_logger()
    stderr.close()
    log.info("a.b")
    assert events(file.read_text())[0]["event"] == "a.b"
    file.unlink()
    file.parent.rmdir()
    log.info("c.d")
    file.parent.mkdir()
    log.info("e.f")
    assert [event["event"] for event in events(file.read_text())] == ["e.f"]
