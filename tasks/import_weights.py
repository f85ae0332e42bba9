"""The import stage as a Prefect task."""

from prefect import task

from pgolf.pipeline.graph import Node
from tasks.cache import STAGE_OPTIONS, Ref
from tasks.listening import TaskListener
from tasks.place import Place
from tasks.stage_task import build


@task(name="import", **STAGE_OPTIONS)
def import_weights(node: Node, parents: dict[str, Ref], place: Place) -> Ref:
    """Check weights that a published script has trained, and take them in."""
    return build(node, parents, place, TaskListener())
