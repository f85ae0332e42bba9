"""The hardware a stage would run on here: GPU or processor, and how many ranks. Does not load torch.

The stages themselves ask torch, and refuse what it does not find; the rules for the number of ranks are the same ones
(`pgolf.machine.hardware`).
"""

from dataclasses import dataclass

from pgolf.config import StageConfig
from pgolf.eval.config import ScoreConfig
from pgolf.identity.stage import Stage
from pgolf.machine.hardware import core_count, cpu_name, gpu_name, on_gpu, ranks_for, scoring_ranks
from pgolf.run_options import RunOptions
from pgolf.store.output_record import Record
from pgolf.train.config import TrainStageConfig

_NO_GPU = "a GPU, which is not here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a stage's seconds depend on: a GPU and the number of ranks, or else a processor and its cores."""

    gpu: str | None
    cpu: str | None
    cores: int | None
    ranks: int

    @classmethod
    def of(cls, record: Record) -> "Hardware | None":
        """What an output was made on; None where its record does not say."""
        if record.ranks is None or (record.gpu is None and record.cpu is None):
            return None
        return cls(gpu=record.gpu, cpu=record.cpu, cores=record.cores, ranks=record.ranks)

    @classmethod
    def here(cls, stage: Stage, config: StageConfig, run: RunOptions) -> "Hardware":
        """What a stage with this config would run on, on this machine."""
        on_gpus, ranks = stage.uses_gpu and on_gpu(run), 1
        if isinstance(config, TrainStageConfig):
            ranks = ranks_for(run, config.train.spans_per_step)
        elif isinstance(config, ScoreConfig):
            on_gpus = config.precision == "bfloat16"
            ranks = scoring_ranks(run, on_gpus=on_gpus)
        gpu = (gpu_name() or _NO_GPU) if on_gpus else None
        return cls(gpu=gpu, cpu=cpu_name(), cores=core_count(), ranks=ranks)

    def is_like(self, other: "Hardware") -> bool:
        """Whether a stage takes as long on both: of two with a GPU, processor and cores are not asked for."""
        if self.gpu is not None or other.gpu is not None:
            return (self.gpu, self.ranks) == (other.gpu, other.ranks)
        return (self.cpu, self.cores, self.ranks) == (other.cpu, other.cores, other.ranks)

    def __str__(self) -> str:
        if self.gpu is not None:
            return f"{self.ranks} x {self.gpu}"
        return f"{self.cpu}, {self.cores} cores" + (f", {self.ranks} ranks" if self.ranks > 1 else "")
