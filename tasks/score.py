"""The score stage as a Prefect task."""

from prefect import task

from pgolf.pipeline.graph import Node
from tasks.cache import STAGE_OPTIONS, Ref
from tasks.listening import TaskListener
from tasks.place import Place
from tasks.stage_task import build


@task(name="score", **STAGE_OPTIONS)
def score_artifact(node: Node, parents: dict[str, Ref], place: Place) -> Ref:
    """Score the validation tokens with the packed network."""
    return build(node, parents, place, TaskListener())
