"""What a bundled script is told: the recipe's settings that decide what it does, all of them, as one config."""

from pgolf.config import StageConfig
from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.eval.config import ScoreConfig
from pgolf.mix.config import MixConfig
from pgolf.model.config import ModelConfig
from pgolf.pack.config import CompressConfig
from pgolf.quant.config import CalibrateConfig
from pgolf.train.config import TrainStageConfig


class Settings(StageConfig):
    """A stage's config each. calibrate: None where packing needs no Hessians. counts: one per estimator."""

    training: TrainStageConfig
    calibrate: CalibrateConfig | None
    compress: CompressConfig
    score: ScoreConfig
    hint: HintConfig | None
    counts: tuple[CountConfig, ...]
    mix: MixConfig

    @property
    def model(self) -> ModelConfig:
        """The network."""
        return self.training.model
