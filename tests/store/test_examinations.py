"""Examinations of nodes on a real mongod."""

from __future__ import annotations

from khala.protocol.doctor import Level, Line, Report
from khala.store.mongo import MongoStore
from khala.store.schema import EXAMINATIONS


def a_report(found: str) -> Report:
    line = Line(check="kernel", roles=("executor",), level=Level.GOOD, found=found, repair=None)
    return Report(able=True, roles=("executor",), lines=[line])


async def test_the_last_one_of_each_role_is_kept(mongo: MongoStore) -> None:
    examinations = mongo.examinations
    for name, role, found in (
        ("a", "judicator", "old"),
        ("a", "judicator", "new"),
        ("a", "executor", "beside it"),
        ("ab", "executor", "of another"),
    ):
        await examinations.keep(name, role, a_report(found))
    kept = await examinations.of("a")
    assert [(each.role, each.report) for each in kept] == [
        ("executor", a_report("beside it")),
        ("judicator", a_report("new")),
    ]
    assert await examinations.of("b") == []


async def test_what_is_old_the_server_removes(mongo: MongoStore) -> None:
    await mongo.prepare()
    indexes = await mongo.database[EXAMINATIONS].index_information()
    assert indexes["at_1"]["expireAfterSeconds"] == 7 * 24 * 3600
