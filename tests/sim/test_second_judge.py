"""The checker, which shares nothing with the simulation, agrees with it: it finds nothing where
the rules are whole, and misses each rule that clients could miss."""

from __future__ import annotations

import pytest

from tests.sim.mutations import MUTATIONS
from tests.sim.recorder import judge_seed

#: Twenty histories are a minute of processor time on a slow machine.
pytestmark = pytest.mark.timeout(600)

SEEDS_A_TEST = 20
#: The claim that each removed rule must break, within the seeds of the mutation itself.
MISSED = {
    "nofence": "C3",
    "nojournal": "C4",
    "nofound": "C1",
    "noleaderaudit": "C1",
    "noreassign": "C1",
    "nokeys": "C6",
    "w1": "C1",
}


@pytest.mark.parametrize("first", range(0, 60, SEEDS_A_TEST))
def test_the_checker_finds_nothing(first: int) -> None:
    for seed in range(first, first + SEEDS_A_TEST):
        assert judge_seed(seed) == []


@pytest.mark.parametrize("name", MISSED)
def test_the_checker_misses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation = MUTATIONS[name]
    mutation.apply(monkeypatch)
    seeds = range(mutation.within or 0)
    assert any(breach.claim == MISSED[name] for seed in seeds for breach in judge_seed(seed))
