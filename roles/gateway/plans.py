"""What documents would become: the answers of dry runs, with every default and bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from khala.model.blob import BlobName
from khala.model.spec import Stage
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.jobs import SubmitJob
from khala.protocol.rpc import SubmitTask
from roles.gateway.issues import Invalid
from roles.gateway.pages import problem_of
from roles.gateway.spec_depends import view_predecessors
from roles.gateway.spec_order import view_amounts, view_placement
from roles.gateway.spec_tries import view_retry
from roles.gateway.v2_view import view_artifacts_request


class PlanQuery(Struct, frozen=True, kw_only=True):
    #: Nothing is created; the answer says what would be.
    dry_run: bool = False


def plan_of(task: SubmitTask, sizes: Mapping[BlobName, int]) -> v2.Plan:
    """`sizes` are those of its blobs."""
    limits = {Stage.COMPILE: task.compile_limits, Stage.EXECUTE: task.execute_limits}
    return v2.Plan(
        user=task.user,
        stages=v2.PlannedStages(
            **{
                stage.value: v2.PlannedStage(
                    limits=limits[stage],
                    env={**task.environment, **task.stage_environment.get(stage, {})},
                )
                for stage in Stage
                if f"{stage}_command" in task.parts
            }
        ),
        name=task.name,
        labels=task.labels,
        priority=task.priority,
        held=task.held,
        resources=view_amounts(task.wants.amounts),
        placement=view_placement(task.wants),
        image=task.image,
        network=task.network,
        cache="auto" if task.cache else "off",
        artifacts=view_artifacts_request(task.artifacts),
        depends_on=view_predecessors(task.depends_on),
        retry=view_retry(task.retry),
        max_crashes=task.max_crashes,
        queue_ttl_s=task.queue_ttl_s,
        retention_s=task.retention_s,
        inputs={str(part): len(data) for part, data in task.parts.items() if data}
        | {str(part): sizes[name] for part, name in task.blobs.items()},
    )


async def _plan_all(client: JudicatorClient, tasks: list[SubmitTask]) -> list[v2.Plan]:
    names = {name for task in tasks for name in task.blobs.values()}
    sizes = await client.touch_blobs(names) if names else {}
    return [plan_of(task, sizes) for task in tasks]


async def plan_job(client: JudicatorClient, job: SubmitJob) -> v2.JobPlan:
    plans = await _plan_all(client, [job.task] if job.task is not None else job.tasks)
    array = job.indexes if job.task is not None else None
    return v2.JobPlan(
        name=job.name,
        size=array.size if array is not None else len(plans),
        array=array.text if array is not None else None,
        task=plans[0] if array is not None else None,
        tasks=plans if array is None else [],
        limit=job.limit,
        max_fails=job.max_fails,
        held=job.held,
    )


async def plan_batch(client: JudicatorClient, made: Sequence[SubmitTask | Invalid]) -> v2.BatchPlan:
    sound = [task for task in made if not isinstance(task, Invalid)]
    plans = iter(await _plan_all(client, sound))
    items = [
        v2.PlannedItem(index=index, problem=problem_of(Failure(status=422, error=task)))
        if isinstance(task, Invalid)
        else v2.PlannedItem(index=index, plan=next(plans))
        for index, task in enumerate(made)
    ]
    return v2.BatchPlan(items=items, accepted=len(sound))
