"""A task must not cost more because there are more executors."""

from __future__ import annotations

from tests.sim.cost import measure


def test_the_cost_of_a_task_does_not_grow_with_the_executors() -> None:
    measure(sessions=10, tasks=500)  # warm
    few = min(measure(sessions=20, tasks=2000).task_us for _ in range(3))
    many = min(measure(sessions=1000, tasks=10_000).task_us for _ in range(3))
    # A walk over all sessions would make it thirty times as much.
    assert many < 4 * few
