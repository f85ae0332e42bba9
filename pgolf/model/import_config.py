"""What decides an imported checkpoint. Imports no torch."""

from pydantic import Field

from pgolf.config import StageConfig
from pgolf.model.config import ModelConfig


class ImportConfig(StageConfig):
    """Which network a file of weights is for, and how far it was trained."""

    model: ModelConfig = Field(default_factory=ModelConfig, description="the network the weights must fit")
    steps: int = Field(default=0, ge=0, description="optimizer steps behind the weights, as far as known")
    stream_position: int = Field(
        default=0, ge=0, description="training tokens behind them; calibration reads the ones that follow"
    )
