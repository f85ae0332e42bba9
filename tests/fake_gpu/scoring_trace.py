"""Scoring of the published systems at full size, from windows to losses.

`python -m tests.fake_gpu.scoring_trace` prints what it did as JSON.
"""

import json
from typing import Any

import numpy as np

from pgolf.eval import forward
from pgolf.eval.forward import Stream, windows_at_a_time
from pgolf.eval.scoring import window_pieces
from pgolf.eval.windows import plan_windows
from pgolf.model.gpt import GPT
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.recipe import Recipe
from tests.fake_gpu.fake_node import DEVICE, fake_rank
from tests.fake_gpu.recorder import Recorder


def trace(recipe: Recipe, *, hints: int = 0) -> dict[str, Any]:
    """Score two batches, in the first of which one window counts in whole, with a network that does not learn.

    hints: tokens per target whose log-probability is wanted too.
    """
    config = recipe.score.model_copy(update={"ttt": None})
    windows = windows_at_a_time(config, recipe.model, DEVICE.type)
    if config.batch_means is not None:
        windows = config.batch_means.windows
    targets = config.window + (2 * windows - 1) * config.stride
    plan = plan_windows(targets, window=config.window, stride=config.stride, tail=config.tail)
    with fake_rank(0), Recorder() as recorder:
        with DEVICE:
            model = GPT(recipe.model).eval()
        weights_bytes = recorder.bytes
        wanted = np.zeros((plan.records, hints), np.int32) if hints else None
        stream = Stream.on(DEVICE, np.zeros(targets + 1, np.uint16), wanted)
        pieces = window_pieces(model, stream, plan, config)
        recorder.waits.clear()
        records = sum(len(piece) for piece in pieces)
        assert records == plan.records
        return {
            "windows": windows,
            "batches": recorder.operators["tanh.default"],
            "operators": recorder.operators,
            "read_back": recorder.read_back,
            "waits": recorder.waits,
            "collectives": recorder.collectives,
            "weights_bytes": weights_bytes,
            "peak_bytes": recorder.peak_bytes,
        }


def read_nothing(slot: Any) -> Any:
    """`_Slot.read` of a buffer that holds no numbers."""
    slot._sent.synchronize()
    return np.zeros(slot._shape, np.float32)


def main() -> None:
    """Trace everything and print it."""
    forward._Slot.read = read_nothing  # type: ignore[method-assign]
    found = {
        "pr715": trace(recipe_named("pr715"), hints=3),
        "pr745": trace(recipe_named("pr745")),
        "pr792": trace(recipe_named("pr792")),
        "pr1493": trace(recipe_named("pr1493")),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
