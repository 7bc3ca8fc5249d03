"""What a quota holds joins the queue in its order, and never more than there is room for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, cast

import pytest

from khala.core.dispatch import Dispatcher
from khala.core.quotas import QuotaLifting
from khala.model.errors import Unavailable
from khala.model.holds import HoldKey
from khala.model.ids import TaskId
from khala.model.limits import QUOTA_INTERVAL_S
from khala.model.quota import QUOTA, Quota, Quotas, Turn
from khala.model.statements import Lift


class World:
    """The store, the queue and the clock; what is lifted is out at once."""

    serving = True

    def __init__(self, **waiting: int) -> None:
        self.waiting = {
            int(user[1:]): [TaskId(f"{user[1:]}{n:023x}") for n in range(count)]
            for user, count in waiting.items()
        }
        self.out: dict[int, list[TaskId]] = {user: [] for user in self.waiting}
        self.turns: dict[int, Turn] = {}
        self.cpu_s = 0.0
        self.at = 0.0
        self.down = False
        #: A judicator that dies after a decision lifts nothing.
        self.dead = False
        self.lifts = 0
        self.quotas = Quotas()
        self.flows: list[Coroutine[object, object, None]] = []

    @property
    def comm(self) -> World:
        return self

    @property
    def holding(self) -> World:
        return self

    async def find_waiting(self, user: int, limit: int) -> list[TaskId]:
        if self.down:
            raise Unavailable
        return self.waiting[user][:limit]

    async def count_out(self, user: int) -> int:
        return len(self.out[user])

    async def cpu_s_today(self, user: int) -> float:
        return self.cpu_s

    async def find_users(self) -> list[int]:
        if self.down:
            raise Unavailable
        return [user for user, tasks in self.waiting.items() if tasks]

    @property
    def store(self) -> World:
        return self

    async def find_held(self, key: HoldKey, limit: int) -> list[TaskId]:
        assert key == QUOTA
        if self.down:
            raise Unavailable
        return [task for tasks in self.waiting.values() for task in tasks][:limit]

    async def load_turn(self, user: int) -> Turn:
        return self.turns.get(user, Turn())

    async def take_turn_if_next(self, user: int, turn: Turn) -> bool:
        if self.turns.get(user, Turn()).number != turn.number - 1:
            return False
        self.turns[user] = turn
        return True

    async def lift(self, lifts: Sequence[Lift]) -> None:
        if self.dead:
            raise Unavailable
        assert all(each.key == QUOTA for each in lifts)
        self.lifts += len(lifts)
        for each in lifts:
            for user, tasks in self.waiting.items():
                if each.id in tasks:
                    tasks.remove(each.id)
                    self.out[user].append(each.id)

    def now(self) -> float:
        return self.at

    def spawn(self, flow: Coroutine[object, object, None]) -> None:
        self.flows.append(flow)

    def settle(self) -> None:
        while self.flows:
            asyncio.run(cast(Any, self.flows.pop(0)))


def lifting(world: World, quotas: Quotas) -> QuotaLifting:
    world.quotas = quotas
    return QuotaLifting(world, cast(Dispatcher, world), lambda: world.quotas)


def test_as_many_as_there_is_room_for_in_order() -> None:
    world = World(u7=5)
    parts = lifting(world, Quotas(default=Quota(running=2)))
    first = world.waiting[7][:2]
    parts.hurry(7)
    world.settle()
    assert world.out[7] == first
    parts.hurry(7)
    world.settle()
    assert len(world.out[7]) == 2
    world.out[7].pop()
    parts.hurry(7)
    world.settle()
    assert (len(world.out[7]), len(world.waiting[7])) == (2, 2)


def test_one_user_does_not_wait_for_another() -> None:
    world = World(u1=1000, u2=3)
    parts = lifting(world, Quotas(default=Quota(running=1), users={2: Quota()}))
    parts.on_tick()
    world.settle()
    assert (len(world.out[1]), len(world.out[2])) == (1, 3)


def test_two_judicators_that_see_the_same_room_fill_it_once() -> None:
    """Each has counted before the other one decides, and sees another task as the next one."""
    world = World(u7=0)
    one, other = (TaskId(f"{n:024x}") for n in (1, 2))
    quotas = Quotas(default=Quota(running=1))
    first, second = lifting(world, quotas), lifting(world, quotas)
    world.waiting[7] = [one]
    count_out = world.count_out

    async def slow(user: int) -> int:
        counted = await count_out(user)
        world.count_out = count_out  # type: ignore[method-assign]
        world.waiting[7] = [other, one]
        second.hurry(7)
        await cast(Any, world.flows.pop())
        return counted

    world.count_out = slow  # type: ignore[method-assign]
    first.hurry(7)
    world.settle()
    assert (world.out[7], world.waiting[7]) == ([other], [one])


def test_what_a_judicator_decided_before_it_died_counts() -> None:
    world = World(u7=3)
    quotas = Quotas(default=Quota(running=1))
    decided = world.waiting[7][0]
    world.dead = True
    lifting(world, quotas).hurry(7)
    world.settle()
    assert world.turns[7].tasks == (decided,)
    assert world.out[7] == []
    world.dead = False
    world.waiting[7].insert(0, TaskId("f" * 24))
    lifting(world, quotas).hurry(7)
    world.settle()
    assert world.out[7] == [decided]


def test_a_turn_is_lifted_again_only_where_it_may_not_have_been() -> None:
    world = World(u7=2)
    parts = lifting(world, Quotas(default=Quota(running=1)))
    for _ in range(3):
        parts.hurry(7)
        world.settle()
    assert world.lifts == 1


def test_processor_time_of_the_day_stops_everything_until_midnight() -> None:
    world = World(u7=3)
    parts = lifting(world, Quotas(default=Quota(cpu_s=60)))
    world.cpu_s = 60.0
    parts.hurry(7)
    world.settle()
    assert world.out[7] == []
    world.cpu_s = 0.0
    world.at = QUOTA_INTERVAL_S
    parts.on_tick()
    world.settle()
    assert len(world.out[7]) == 3


@pytest.mark.parametrize("quota", [Quota(cpu_s=60), Quota(running=100)])
def test_many_are_let_go_in_steps(monkeypatch: pytest.MonkeyPatch, quota: Quota) -> None:
    monkeypatch.setattr("khala.core.quotas.QUOTA_PORTION", 2)
    world = World(u7=7)
    lifting(world, Quotas(default=quota)).hurry(7)
    world.settle()
    assert len(world.out[7]) == 7


def test_news_during_a_look_are_looked_at_after_it() -> None:
    world = World(u7=1)
    parts = lifting(world, Quotas(default=Quota(running=5)))
    parts.hurry(7)
    parts.hurry(7)
    assert len(world.flows) == 1
    world.settle()
    parts.hurry(7)
    assert len(world.flows) == 1
    world.settle()


def test_a_store_that_is_down_is_asked_again() -> None:
    world = World(u7=1)
    parts = lifting(world, Quotas(default=Quota(running=5)))
    world.down = True
    parts.on_tick()
    parts.hurry(7)
    world.settle()
    world.down = False
    world.at = QUOTA_INTERVAL_S
    parts.on_tick()
    world.settle()
    assert len(world.out[7]) == 1


def test_a_judicator_that_does_not_serve_lifts_nothing() -> None:
    world = World(u7=1)
    parts = lifting(world, Quotas(default=Quota(running=5)))
    world.serving = False
    parts.on_tick()
    assert not world.flows


def test_a_bound_that_is_raised_is_looked_at_with_the_next_tick() -> None:
    world = World(u7=5)
    parts = lifting(world, Quotas(default=Quota(running=1)))
    parts.on_tick()
    world.settle()
    world.quotas = Quotas(default=Quota(running=3))
    parts.on_tick()
    assert not world.flows
    parts.look_again()
    parts.on_tick()
    world.settle()
    assert len(world.out[7]) == 3


@pytest.mark.parametrize("others", [Quotas(), Quotas(users={8: Quota(running=1)})])
def test_what_nothing_bounds_any_more_is_let_go(
    monkeypatch: pytest.MonkeyPatch, others: Quotas
) -> None:
    monkeypatch.setattr("khala.core.quotas.QUOTA_PORTION", 2)
    world = World(u7=5)
    parts = lifting(world, Quotas(users={7: Quota(running=1)}))
    parts.on_tick()
    world.settle()
    world.quotas = others
    parts.look_again()
    parts.on_tick()
    world.settle()
    assert len(world.out[7]) == 5


def test_what_another_judicator_held_a_moment_longer_is_let_go_later() -> None:
    world = World(u7=0)
    parts = lifting(world, Quotas())
    parts.on_tick()
    world.settle()
    world.waiting[7].append(TaskId("7" * 24))
    world.at = QUOTA_INTERVAL_S
    world.down = True
    parts.on_tick()
    world.settle()
    world.down = False
    world.at *= 2
    parts.on_tick()
    # One that takes long is not begun again beside itself.
    parts.look_again()
    parts.on_tick()
    world.settle()
    assert world.out[7] == ["7" * 24]


def test_letting_go_ends_where_there_are_quotas_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("khala.core.quotas.QUOTA_PORTION", 2)
    world = World(u7=5)
    parts = lifting(world, Quotas())
    lift = world.lift

    async def lift_and_change(lifts: Sequence[Lift]) -> None:
        await lift(lifts)
        world.quotas = Quotas(default=Quota(running=1))

    monkeypatch.setattr(world, "lift", lift_and_change)
    parts.on_tick()
    world.settle()
    assert len(world.waiting[7]) == 3
