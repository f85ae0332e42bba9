"""The base of every stage's configuration: frozen, typed, and closed to unknown fields."""

from pydantic import BaseModel, ConfigDict


class StageConfig(BaseModel):
    """Exactly what decides the bytes of a stage's output.

    Where and how a stage runs (device, processes, log cadence, folders) is `RunOptions`, which is never part of an
    output's identity. Lists are tuples, so that a config is hashable and has one canonical form.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)
