"""The numbers of a whole Khala: they move with its tasks, and the documents name all of them."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.harness import Khala, wait_until

DOCS = Path(__file__).parents[2] / "docs"
#: Three cases, of which one is wrong.
JUDGED = {
    "stages": {"execute": {"command": "cat"}},
    "cases": [
        {"stdin": {"text": text}, "expect": {"stdout": {"text": expected}}}
        for text, expected in (("1", "1"), ("2", "3"), ("4", "4"))
    ],
}


def scrape(khala: Khala) -> list[Metric]:
    status, text = khala.call("GET", "/metrics")
    assert status == 200
    return list(text_string_to_metric_families(text))


def total(metrics: Iterable[Metric], name: str, **labels: str) -> float:
    return sum(
        sample.value
        for metric in metrics
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_numbers_move_with_the_tasks(shared: Khala) -> None:
    before = scrape(shared)
    good = [shared.submit(execute_command="echo hi") for _ in range(3)]
    bad = shared.submit(compile_command="exit 3")
    for task in (*good, bad):
        shared.wait_done(task)
    judged = shared.send("POST", "/api/v2/tasks?wait=30s", JUDGED)
    assert judged[1]["verdict"] == "WA", judged
    slow = shared.submit(execute_command="echo early; sleep 1")
    shared.wait_done(slow)
    # Executors tell of their caches with their heartbeats.
    looked = total(before, "khala_compile_cache_lookups_total") + 1
    wait_until(
        lambda: total(scrape(shared), "khala_compile_cache_lookups_total") >= looked,
        60,
        "the lookup in the cache is counted",
    )
    after = scrape(shared)

    def grown(name: str, **labels: str) -> float:
        return total(after, name, **labels) - total(before, name, **labels)

    assert grown("khala_tasks_accepted_total", replay="false") == 6
    assert grown("khala_attempts_total", ending="succeeded", reason="ok") == 5
    assert grown("khala_attempts_total", ending="failed", reason="exit_nonzero") == 1
    assert grown("khala_task_wait_seconds_count") == 6
    assert grown("khala_stage_wall_seconds_count", stage="execute") == 5
    assert grown("khala_stage_wall_seconds_count", stage="compile") == 1
    assert grown("khala_commit_batch_items_sum", lane="accept") == 6
    assert {
        verdict: grown("khala_cases_total", verdict=verdict) for verdict in ("AC", "WA", "none")
    } == {"AC": 2, "WA": 1, "none": 0}
    # On a busy machine the others last long enough to be shown, too.
    assert grown("khala_live_output_bytes_total") >= len("early\n")
    assert grown("khala_live_output_delay_seconds_count") >= 1
    assert grown("khala_http_requests_total", route="POST /api/task", status="200") == 5
    assert total(after, "khala_judicator_leader") == 1
    assert total(after, "khala_executor_slots") >= total(after, "khala_executor_free_slots") > 0


def test_documents_and_dashboard_name_what_there_is(shared: Khala) -> None:
    names = {metric.name for metric in scrape(shared) if metric.name.startswith("khala_")}
    # As a scraper stores them: counters with their suffix.
    kinds = {metric.name: metric.type for metric in scrape(shared)}
    stored = {name + ("_total" if kinds[name] == "counter" else "") for name in names}
    table = [line for line in (DOCS / "metrics.md").read_text().splitlines() if "| `" in line]
    documented = {name for line in table for name in re.findall(r"`(khala_\w+)`", line)}
    assert documented == stored
    panels = json.loads((DOCS / "grafana.json").read_text())["panels"]
    used = {
        re.sub(r"_bucket$", "", name)
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"khala_\w+", target["expr"])
    }
    assert used == stored - {"khala_build_info"}


@pytest.mark.parametrize(("path", "status"), [("/livez", 200), ("/readyz", 200), ("/leader", 200)])
def test_a_judicators_probes_need_no_secret(shared: Khala, path: str, status: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{shared.ports['rpc']}{path}") as response:
        assert response.status == status


def test_a_judicators_numbers_do(shared: Khala) -> None:
    url = f"http://127.0.0.1:{shared.ports['rpc']}/rpc/v1/metrics"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url)
    with refused.value as answer:
        assert answer.code == 401
