"""Whether this machine can run the stages that are not cached, checked before the first of them starts."""

from collections.abc import Sequence

from pgolf.errors import ConfigError
from pgolf.eval.config import ScoreConfig
from pgolf.machine.hardware import gpu_names, on_gpu, ranks_for, refuse_uneven
from pgolf.pipeline.plan import Step
from pgolf.run import RunOptions
from pgolf.train.config import TrainStageConfig


def check_machine(steps: Sequence[Step], run: RunOptions) -> None:
    """Raises ConfigError if a step that will not be reused cannot run here.

    Reads the driver's list of GPUs, not torch's, so that it costs no import; the stages check again for themselves.
    """
    for step in steps:
        if step.action == "reuse":
            continue
        config = step.node.config
        if step.node.stage.uses_gpu and run.device == "cuda" and not gpu_names():
            raise ConfigError(
                f"{step.node.name}: device cuda asked for, but the driver lists no GPU here; use device auto or cpu"
            )
        if isinstance(config, TrainStageConfig):
            _check_ranks(step.node.name, config, run)
        elif isinstance(config, ScoreConfig):
            _check_precision(step.node.name, config, run)


def _check_ranks(node: str, config: TrainStageConfig, run: RunOptions) -> None:
    spans = config.train.spans_per_step
    ranks = ranks_for(run, spans)
    refuse_uneven(ranks, spans)
    if on_gpu(run) and ranks > len(gpu_names()):
        raise ConfigError(f"{node}: {ranks} ranks asked for, the driver lists {len(gpu_names())} GPUs; each needs one")


def _check_precision(node: str, config: ScoreConfig, run: RunOptions) -> None:
    if config.precision == "bfloat16" and (run.device == "cpu" or not gpu_names()):
        there = "device cpu was asked for" if run.device == "cpu" else "the driver lists no GPU here"
        raise ConfigError(
            f"{node}: precision bfloat16 is computed on CUDA, and {there}; run on a GPU node, add "
            "--set score.precision=float32, or take the recipe's -tiny twin"
        )
    if config.precision == "float32" and run.device == "cuda":
        raise ConfigError(
            f"{node}: precision float32 is computed on a CPU, but device cuda was asked for; add "
            "--set score.precision=bfloat16, or leave the device to choose itself"
        )
