"""The hint stage as a Prefect task."""

from prefect import task

from pgolf.pipeline.graph import Node
from tasks.cache import STAGE_OPTIONS, Ref
from tasks.listening import TaskListener
from tasks.place import Place
from tasks.stage_task import build


@task(name="hint", **STAGE_OPTIONS)
def take_hints(node: Node, parents: dict[str, Ref], place: Place) -> Ref:
    """Take the hints of the validation tokens."""
    return build(node, parents, place, TaskListener())
