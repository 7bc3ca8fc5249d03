"""Which role may ask for what."""

from __future__ import annotations

import pytest

from roles.judicator.access import may

TASK = "/rpc/v1/tasks/6b04d4787d852fb9eb7f7a4e"


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("GET", "/rpc/v1/executor", "EJ"),
        ("GET", f"{TASK}/parts/input", "EGJ"),
        ("HEAD", f"{TASK}/parts/input", "EGJ"),
        ("GET", "/rpc/v1/blobs/ab", "EGJ"),
        ("PUT", "/rpc/v1/outputs/t/1/stdout/0", "EJ"),
        ("POST", "/rpc/v1/live", "EJ"),
        ("POST", "/rpc/v1/logs/t", "GJ"),
        ("POST", "/rpc/v1/nodes/e/cordon", "GJ"),
        ("GET", "/rpc/v1/nodes/e/doctor", "GJ"),
        ("PUT", "/rpc/v1/nodes/e/doctor/executor", "EJ"),
        ("GET", "/rpc/v1/epoch", "J"),
        ("GET", "/rpc/v1/cluster", "EGJ"),
        ("POST", "/rpc/v1/certificate", "EGJ"),
        ("GET", TASK, "GJ"),
        ("POST", "/rpc/v1/queue", "GJ"),
        ("GET", f"{TASK}/streams/stdout", "GJ"),
        ("DELETE", TASK, "GJ"),
        ("POST", "/rpc/v1/tasks", "GJ"),
        ("GET", "/rpc/v1/events", "GJ"),
        ("POST", "/rpc/v1/blobs", "GJ"),
        ("POST", "/rpc/v1/tokens", "GJ"),
        ("DELETE", "/rpc/v1/tokens/ab", "GJ"),
        ("POST", "/rpc/v1/retention", "GJ"),
        ("GET", "/rpc/v1/settings/cluster", "GJ"),
        ("PUT", "/rpc/v1/settings/cluster", "GJ"),
        ("POST", "/rpc/v1/leadership", "GJ"),
        ("GET", "/rpc/v1/members", "J"),
        ("GET", "/rpc/v1/new", "GJ"),
        ("GET", "/rpc/v1/executor/../tokens", "GJ"),
    ],
)
def test_what_a_role_may_do(method: str, path: str, roles: str) -> None:
    names = {"E": "executor", "G": "gateway", "J": "judicator"}
    assert [letter for letter, role in names.items() if may(role, method, path)] == list(roles)
    assert not may("stranger", method, path)
    assert not may("", method, path)
