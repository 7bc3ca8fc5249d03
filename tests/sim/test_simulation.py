"""Promises hold on every seed, and each rule that holds them up is missed when it is gone."""

from __future__ import annotations

import pytest

from tests.sim.history import Violation
from tests.sim.mutations import MUTATIONS
from tests.sim.simulation import simulate

#: Twenty histories are a minute of processor time on a slow machine.
pytestmark = pytest.mark.timeout(600)

SEEDS_A_TEST = 20


@pytest.mark.parametrize("first", range(0, 120, SEEDS_A_TEST))
def test_promises_hold(first: int) -> None:
    for seed in range(first, first + SEEDS_A_TEST):
        report = simulate(seed)
        assert report.counts["in doubt"] > 0
        assert report.counts["runs"] >= report.counts["ended succeeded"]


def test_a_seed_is_a_whole_history() -> None:
    assert simulate(3) == simulate(3)


@pytest.mark.parametrize("name", [name for name, m in MUTATIONS.items() if m.within])
def test_the_simulation_misses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation = MUTATIONS[name]
    mutation.apply(monkeypatch)
    assert any(breaks(seed) for seed in range(mutation.within or 0))


def breaks(seed: int) -> bool:
    try:
        simulate(seed)
    except Violation:
        return True
    return False
