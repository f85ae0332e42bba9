"""The fetch stage as a Prefect task."""

from prefect import task

from pgolf.pipeline.graph import Node
from tasks.cache import STAGE_OPTIONS, Ref
from tasks.listening import TaskListener
from tasks.place import Place
from tasks.stage_task import build


@task(name="fetch", **STAGE_OPTIONS)
def fetch_data(node: Node, parents: dict[str, Ref], place: Place) -> Ref:
    """Download the published shards and tokenizer."""
    return build(node, parents, place, TaskListener())
