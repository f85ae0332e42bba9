"""The calibrate stage as a Prefect task."""

from prefect import task

from pgolf.pipeline.graph import Node
from tasks.cache import STAGE_OPTIONS, Ref
from tasks.listening import TaskListener
from tasks.place import Place
from tasks.stage_task import build


@task(name="calibrate", **STAGE_OPTIONS)
def calibrate_hessians(node: Node, parents: dict[str, Ref], place: Place) -> Ref:
    """Collect the Hessians that GPTQ weighs its errors with."""
    return build(node, parents, place, TaskListener())
