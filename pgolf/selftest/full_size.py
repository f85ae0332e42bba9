"""A published system at full size on this rank's device: the network and its loss, compiled as a training compiles it.

Kept for the checks of one system that follow each other, so that it is compiled once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pgolf.corpus.shards import TokenStream, write_shard
from pgolf.model.gpt import GPT
from pgolf.model.init import initial_model
from pgolf.recipes.recipe import Recipe
from pgolf.selftest.check import Place
from pgolf.selftest.exercised import random_tokens
from pgolf.train.config import TrainConfig
from pgolf.train.network_loss import NetworkLoss, network_loss
from pgolf.train.spans import SpanReader

STREAM_STEPS = 2  # the stream of random tokens repeats


@dataclass(frozen=True, slots=True)
class FullSize:
    """model: with `initial` weights. spans: of a stream of random tokens."""

    recipe: Recipe
    model: GPT
    loss: NetworkLoss
    spans: SpanReader
    initial: dict[str, Tensor]

    def config(self, steps: int, priming_steps: int) -> TrainConfig:
        """The system's training for a number of steps, by no clock."""
        changes = {"steps": steps, "clock_limit_s": None, "priming_steps": priming_steps}
        return self.recipe.train.model_copy(update=changes)

    def restart(self) -> None:
        """Initial weights, no gradients, and the memory of what is gone given back."""
        self.model.load_state_dict(self.initial)
        self.model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@lru_cache(maxsize=1)
def full_size(recipe_of: Callable[[], Recipe], place: Place) -> FullSize:
    """The system on this rank; `place.folder` gets its tokens, a file per rank."""
    recipe = recipe_of()
    shard = place.folder / f"{recipe.name}-full-{place.ranks.rank}.bin"
    tokens = random_tokens(recipe.model.vocab_size, STREAM_STEPS * recipe.train.stream_tokens_per_step)
    write_shard(shard, tokens.numpy())
    model = initial_model(recipe.model, 1).to(place.device)
    initial = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    loss = network_loss(model, recipe.train, place.device)
    return FullSize(recipe, model, loss, SpanReader(TokenStream([shard]), recipe.train), initial)
