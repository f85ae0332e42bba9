"""A short training of a system's small twin on random tokens, as the ranks of a real one run it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pgolf.corpus.shards import TokenStream, write_shard
from pgolf.model.gpt import GPT
from pgolf.model.init import initial_model
from pgolf.recipes.recipe import Recipe
from pgolf.recipes.systems import tiny
from pgolf.selftest.check import Place
from pgolf.selftest.exercised import random_tokens
from pgolf.train.config import TrainConfig
from pgolf.train.loop import StepReport, train
from pgolf.train.rank import choose_determinism
from pgolf.train.spans import SpanReader
from pgolf.train.state import Keeper


@dataclass(frozen=True, slots=True)
class TwinTraining:
    """One span per rank and step, not compiled, deterministic."""

    recipe: Recipe
    config: TrainConfig
    spans: SpanReader
    place: Place

    @classmethod
    def of(cls, full: Callable[[], Recipe], place: Place, steps: int) -> "TwinTraining":
        """The twin of a system; `place.folder` gets its tokens, a file per rank."""
        recipe = tiny(full())
        ranks = place.ranks
        changes = {
            "spans_per_step": ranks.world_size,
            "tokens_per_step": ranks.world_size * recipe.train.sequence_length,
            "steps": steps,
            "warmdown_steps": steps // 2,
            "priming_steps": 0,
            "compile": False,
        }
        config = recipe.train.model_copy(update=changes)
        shard = place.folder / f"{recipe.name}-{ranks.rank}.bin"
        tokens = random_tokens(recipe.model.vocab_size, steps * config.stream_tokens_per_step)
        write_shard(shard, tokens.numpy())
        return cls(recipe, config, SpanReader(TokenStream([shard]), config), place)

    def run(
        self, keeper: Keeper | None = None, on_step: Callable[[StepReport], None] = lambda _report: None
    ) -> tuple[GPT, dict[str, Tensor], list[float]]:
        """The trained network, its averaged weights, and the loss of every step in nats."""
        choose_determinism(self.place.device, True)
        model = initial_model(self.recipe.model, seed=1).to(self.place.device)
        losses: list[float] = []

        def take(report: StepReport) -> None:
            losses.append(report.loss_nats)
            on_step(report)

        try:
            trained = train(
                model,
                self.config,
                self.spans,
                self.place.ranks,
                clock_s=lambda: 0.0,
                on_step=take,
                lag=1 if self.place.device.type == "cuda" else 0,
                keeper=keeper,
            )
        finally:
            choose_determinism(self.place.device, False)
        return model, trained.state, losses


def folder_of(place: Place, name: str) -> Path:
    """A folder of a check's own that all ranks share."""
    folder = place.folder / name
    folder.mkdir(exist_ok=True)
    return folder
