"""Config of stage `import`. Imports no torch."""

from pydantic import Field

from pgolf.config import StageConfig
from pgolf.model.config import ModelConfig


class ImportConfig(StageConfig):
    """The network that the weights belong to, and how far it was trained."""

    model: ModelConfig = Field(default_factory=ModelConfig, description="the network the weights must fit")
    steps: int = Field(default=0, ge=0, description="optimizer steps behind the weights, as far as known")
    stream_position: int = Field(
        default=0, ge=0, description="training tokens behind the weights; calibration reads those that follow"
    )
