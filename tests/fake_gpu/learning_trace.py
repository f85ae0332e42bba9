"""Test-time training at full size: #745 and #761 as ranks of eight, adapters per document on one rank.

`python -m tests.fake_gpu.learning_trace` prints what one chunk did as JSON.
"""

import json
from typing import Any

import numpy as np
import torch

from pgolf.eval import forward
from pgolf.eval.config import ScoreConfig
from pgolf.eval.forward import Stream
from pgolf.eval.lora import DocumentPass
from pgolf.eval.ttt import Learner
from pgolf.eval.ttt_config import LoraConfig, TttConfig
from pgolf.model.gpt import GPT
from pgolf.model.untie import untie
from pgolf.ranks.group import Ranks
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.recipe import Recipe
from tests.fake_gpu.fake_node import DEVICE, WORLD_SIZE, fake_rank
from tests.fake_gpu.recorder import Recorder
from tests.fake_gpu.scoring_trace import read_nothing

CLIPPING = "eval.ttt.Learner.learn"


def learned(recipe: Recipe, rank: int) -> dict[str, Any]:
    """Learn one chunk of the published size, once."""
    assert isinstance(recipe.score.ttt, TttConfig)
    config = recipe.score.ttt.model_copy(update={"epochs": 1})
    with fake_rank(rank) as ranks, Recorder(value=1.0, may_read=(CLIPPING,)) as recorder:
        with DEVICE:
            model = GPT(recipe.model)
            if config.untie:
                network, state = untie(recipe.model, model.state_dict())
                model = GPT(network)
                del state
        tokens = np.zeros(2 * config.chunk_tokens + 1, np.uint16)
        learner = Learner(model, tokens, config, threads=1, ranks=ranks)
        recorder.waits.clear()
        learner.learn(0)
        return _found(recorder) | {"learned": sum(parameter.numel() for parameter in learner.parameters)}


def adapted() -> dict[str, Any]:
    """Score a document of two chunks and learn the first, then one chunk with a whole window before it."""
    ttt = LoraConfig(kind="lora")
    config = ScoreConfig(precision="bfloat16", ttt=ttt)
    borders = np.array([0, 2 * ttt.chunk_targets, config.window + 4 * ttt.chunk_targets])
    with fake_rank(0), Recorder(value=1.0) as recorder:
        with DEVICE:
            model = GPT(recipe_named("pr715").model).eval()
        stream = Stream.on(DEVICE, np.zeros(borders[-1] + 1, np.uint16))
        documents = DocumentPass(model, stream, borders[:2], config)
        recorder.waits.clear()
        (piece,) = documents.pieces(ranks=Ranks(), threads=1)
        assert len(piece) == borders[1]
        network, parameters = documents._adapted()
        columns = documents._chunk(network, int(borders[1]), int(borders[2]) - ttt.chunk_targets, int(borders[2]))
        gradients = torch.autograd.grad(columns[0].mean(), parameters)
        return _found(recorder) | {"learned": sum(gradient.numel() for gradient in gradients)}


def _found(recorder: Recorder) -> dict[str, Any]:
    return {
        "operators": recorder.operators,
        "read_back": recorder.read_back,
        "waits": recorder.waits,
        "collectives": recorder.collectives,
        "peak_bytes": recorder.peak_bytes,
    }


def main() -> None:
    """Trace everything and print it."""
    forward._Slot.read = read_nothing  # type: ignore[method-assign]
    found = {
        "pr745": learned(recipe_named("pr745"), 0),
        "pr745, last rank": learned(recipe_named("pr745"), WORLD_SIZE - 1),
        "pr761": learned(recipe_named("pr761"), 0),
        "pr1493": learned(recipe_named("pr1493"), 0),
        "lora": adapted(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
