"""Base class of every stage's config: frozen, typed, no unknown fields."""

from pydantic import BaseModel, ConfigDict


class StageConfig(BaseModel):
    """Exactly the settings that determine the bytes of a stage's output.

    Where and how a stage runs (device, processes, log cadence, folders) goes into `RunOptions`, which is never part of
    a cache key. Sequences are tuples, so that a config is hashable and has one canonical form.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)
