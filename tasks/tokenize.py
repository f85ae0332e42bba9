"""The tokenize stage as a Prefect task."""

from prefect import task

from pgolf.pipeline.graph import Node
from tasks.cache import STAGE_OPTIONS, Ref
from tasks.listening import TaskListener
from tasks.place import Place
from tasks.stage_task import build


@task(name="tokenize", **STAGE_OPTIONS)
def tokenize_documents(node: Node, parents: dict[str, Ref], place: Place) -> Ref:
    """Documents to token shards."""
    return build(node, parents, place, TaskListener())
