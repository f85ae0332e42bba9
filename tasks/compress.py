"""The compress stage as a Prefect task."""

from prefect import task

from pgolf.pipeline.graph import Node
from tasks.cache import STAGE_OPTIONS, Ref
from tasks.listening import TaskListener
from tasks.place import Place
from tasks.stage_task import build


@task(name="compress", **STAGE_OPTIONS)
def compress_weights(node: Node, parents: dict[str, Ref], place: Place) -> Ref:
    """Quantize and pack one seed's weights under the budget."""
    return build(node, parents, place, TaskListener())
