"""The stage key as Prefect's cache key, and the reference that Prefect may keep: small, and checked whenever read.

The store decides what is reused. Prefect's own record of a task is only a shortcut to it: a record whose artifact is
gone or damaged fails validation when Prefect reads it, which Prefect treats as no record, and the task runs.
"""

from pathlib import Path
from typing import Any, Self

from prefect.cache_policies import CacheKeyFnPolicy
from pydantic import BaseModel, ConfigDict, model_validator

from pgolf.identity.fingerprint import digest
from pgolf.pipeline.graph import Node, key_of
from pgolf.pipeline.place import Place
from pgolf.store.artifact import Artifact, Store
from tasks.retries import may_pass


class Ref(BaseModel):
    """A reference to an artifact: where it lies and whose key it carries. Valid only while the artifact is sound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Path
    folder: str
    key_digest: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.artifact()
        return self

    def artifact(self) -> Artifact:
        """The artifact, verified. Raises ValueError when it is missing, damaged or another one."""
        found = Store(self.store).inspect(self.store / self.folder)
        if not isinstance(found, Artifact):
            raise ValueError(f"{self.folder}: {found.why}")
        if found.record.key_digest != self.key_digest:
            raise ValueError(f"{self.folder} carries another key")
        return found

    @classmethod
    def to(cls, artifact: Artifact) -> Self:
        """The reference to `artifact`."""
        return cls(store=artifact.path.parent, folder=artifact.path.name, key_digest=artifact.record.key_digest)


def stage_cache_key(_context: Any, parameters: dict[str, Any]) -> str:
    """The node's stage key, from the same parameters that the task gets."""
    node: Node = parameters["node"]
    parents: dict[str, Ref] = parameters["parents"]
    place: Place = parameters["place"]
    artifacts = {name: ref.artifact() for name, ref in parents.items()}
    # Another store's record of the same key must not stand for this store's output.
    store = digest(str(place.store.absolute()))[:12]
    return f"{node.stage.name}/{store}/{key_of(node, artifacts, place.memo()).digest}"


STAGE_KEY = CacheKeyFnPolicy(cache_key_fn=stage_cache_key)
# For every stage task: persisted as JSON, which Prefect validates when it loads it (pickle would skip the check).
STAGE_OPTIONS: dict[str, Any] = {
    "cache_policy": STAGE_KEY,
    "persist_result": True,
    "result_serializer": "json",
    "retry_condition_fn": may_pass,
}
