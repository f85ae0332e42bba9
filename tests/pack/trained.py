"""Networks trained for real, briefly, on the built-in corpus, and what compression adds to their loss."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pgolf.corpus import tokenize_stage as tokenize
from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import validation_tokens
from pgolf.model.checkpoint import Checkpoint, build_model, load_checkpoint
from pgolf.pack import compress_stage as compress
from pgolf.pack.config import CompressConfig
from pgolf.pack.load import load_packed
from pgolf.quant import calibration as calibrate
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe import Recipe
from pgolf.run_options import Fact, RunOptions
from pgolf.train import train_stage as train
from pgolf.train.config import TrainStageConfig

ONE_THREAD = RunOptions(device="cpu", threads=1)
ROW = 128


@dataclass(frozen=True)
class Trained:
    """A trained network's folders, and its loss on validation tokens in nats."""

    recipe: Recipe
    data: Path
    checkpoint: Path
    hessians: Path
    loss_nats: float

    def packed(self, out: Path, **changes: Any) -> tuple[dict[str, Fact], float]:
        """Facts of a compression, and by how many nats it raised the loss."""
        out.mkdir()
        config = CompressConfig.model_validate(dict(self.recipe.compress) | changes)
        inputs = {"checkpoint": self.checkpoint, "hessians": self.hessians}
        made = compress.make(config, inputs, out, ONE_THREAD, code_bytes=0)
        return dict(made.facts), loss_nats(load_packed(out / "model.pgolf"), self.data) - self.loss_nats


def corpus(out: Path) -> Path:
    """The demo's token shards."""
    config = recipe_named("demo").tokenize
    assert config is not None
    tokenize.make(config, {}, out, ONE_THREAD)
    return out


def trained(name: str, data: Path, out: Path, *overrides: str) -> Trained:
    """A recipe's network, trained on the first seed and calibrated with sensitivities."""
    recipe = apply_overrides(recipe_named(name), overrides)
    for folder in ("checkpoint", "hessians"):
        (out / folder).mkdir(parents=True)
    stage_config = TrainStageConfig(model=recipe.model, train=recipe.train)
    train.make(stage_config, {"data": data}, out / "checkpoint", ONE_THREAD, seed=recipe.seeds[0])
    inputs = {"checkpoint": out / "checkpoint", "data": data}
    calibration = recipe.calibrate.model_copy(update={"sensitivities": True})
    calibrate.make(calibration, inputs, out / "hessians", ONE_THREAD)
    loaded = load_checkpoint(out / "checkpoint" / "checkpoint.safetensors")
    return Trained(recipe, data, out / "checkpoint", out / "hessians", loss_nats(loaded, data))


@torch.inference_mode()
def loss_nats(checkpoint: Checkpoint, data: Path) -> float:
    """Mean loss over the first validation tokens, in rows of 128."""
    network = build_model(checkpoint.config, checkpoint.state, torch.device("cpu"))
    tokens = torch.from_numpy(validation_tokens(open_dataset(data), window=ROW)[: 96 * ROW + 1].astype("int64"))
    x, y = tokens[:-1].reshape(-1, ROW), tokens[1:].reshape(-1, ROW)
    total = sum(float(network.loss(a, b)) * len(a) for a, b in zip(x.split(32), y.split(32), strict=True))
    return total / len(x)
