"""Calibration at full size: one batch of Hessians, and of the loss's curvature.

`python -m tests.fake_gpu.calibration_trace` prints what they did as JSON.
"""

import json
from typing import Any

import torch

from pgolf.model.gpt import GPT
from pgolf.quant.hessian import InputHessians
from pgolf.quant.sensitivity import TOKEN_TABLE, Sensitivities
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.recipe import Recipe
from tests.fake_gpu.fake_node import DEVICE, fake_rank
from tests.fake_gpu.recorder import Recorder


def trace(recipe: Recipe, *, sensitivities: bool = False) -> dict[str, Any]:
    """One batch of the published size, in the order of `pgolf.quant.calibration.make`.

    sensitivities: the loss's curvature too, on a third of the batch: it takes 8 rows at a time anyway.
    """
    config = recipe.calibrate
    with fake_rank(0), Recorder(value=1.0) as recorder:
        with DEVICE:
            network = GPT(recipe.model).eval()
        rows = config.sequences // 3 if sensitivities else config.sequences
        tokens_BT = torch.zeros(rows, config.sequence_length, dtype=torch.long, device=DEVICE)
        hessians, curvature = InputHessians(network, config.product), Sensitivities(network)
        with torch.inference_mode(), hessians:
            h_BTD = network.hidden(tokens_BT)
            if recipe.compress.needs_table:
                hessians.add(TOKEN_TABLE, h_BTD)
        if sensitivities:
            with curvature:
                curvature.add(tokens_BT)
        during = {"read_back": list(recorder.read_back), "waits": list(recorder.waits)}
        means = dict(hessians.mean(1)) | (dict(curvature.factors(1)) if sensitivities else {})
        return during | {
            "means": {name: [str(mean.device), str(mean.dtype), *mean.shape] for name, mean in means.items()},
            "operators": recorder.operators,
            "collectives": recorder.collectives,
            "peak_bytes": recorder.peak_bytes,
        }


def main() -> None:
    """Trace everything and print it."""
    found = {
        "pr745": trace(recipe_named("pr745")),
        "pr792": trace(recipe_named("pr792")),
        "pr1493": trace(recipe_named("pr1493")),
        "sensitivities": trace(recipe_named("pr715"), sensitivities=True),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
