"""`/metrics` in Prometheus' own parser: this gateway's numbers, and the judicators' beside them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from khala.model.errors import Unavailable
from tests.unit.gateway.conftest import Site, break_with


async def scrape(site: Site) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    async with site.http.get(site.url("/metrics")) as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        text = await response.text()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


async def test_requests_are_counted_by_route_and_status(site: Site) -> None:
    known, unknown = site.url("/livez"), site.url(f"/api/v2/tasks/{'0' * 24}")
    route = "GET /api/v2/tasks/<task_id:str>"
    before = await scrape(site)
    for url in (known, unknown, unknown):
        async with site.http.get(url):
            pass
    after = await scrape(site)

    def grown(name: str, **fields: str) -> float:
        key = (name, labels(**fields))
        return after[key] - before.get(key, 0.0)

    assert grown("khala_http_requests_total", route="GET /livez", status="200") == 1
    assert grown("khala_http_requests_total", route=route, status="404") == 2
    assert grown("khala_http_request_seconds_count", route=route) == 2
    assert not [name for name, _ in after if name.endswith("_created")]


async def test_judicators_samples_carry_their_name(site: Site) -> None:
    seen = await scrape(site)
    assert seen["khala_tasks", labels(state="queued", judicator="judicator")] == 7.0
    assert seen["khala_judicators_answering", labels()] == 1.0


async def test_a_silent_judicator_leaves_the_gateways_own_numbers(site: Site) -> None:
    await break_with(site, Unavailable())
    try:
        seen = await scrape(site)
    finally:
        site.judicator.broken = None
    assert seen["khala_judicators_answering", labels()] == 0.0
    assert ("khala_event_streams", labels()) in seen
    assert not [name for name, _ in seen if name == "khala_tasks"]


async def test_the_leader_is_named(site: Site) -> None:
    async with site.http.get(site.url("/leader")) as response:
        assert (response.status, await response.text()) == (200, "judicator\n")
