"""The count stage as a Prefect task."""

from prefect import task

from pgolf.pipeline.graph import Node
from tasks.cache import STAGE_OPTIONS, Ref
from tasks.listening import TaskListener
from tasks.place import Place
from tasks.stage_task import build


@task(name="count", **STAGE_OPTIONS)
def count_ngrams(node: Node, parents: dict[str, Ref], place: Place) -> Ref:
    """Count n-grams over the validation tokens, in one estimator."""
    return build(node, parents, place, TaskListener())
