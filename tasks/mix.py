"""The mix stage as a Prefect task."""

from prefect import task

from pgolf.pipeline.graph import Node
from tasks.cache import STAGE_OPTIONS, Ref
from tasks.listening import TaskListener
from tasks.place import Place
from tasks.stage_task import build


@task(name="mix", **STAGE_OPTIONS)
def mix_grid(node: Node, parents: dict[str, Ref], place: Place) -> Ref:
    """Evaluate the grid of mixtures of one seed's trace with the counts."""
    return build(node, parents, place, TaskListener())
