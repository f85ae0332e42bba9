"""Steps, priming and checkpoints of the published systems at full size, as ranks 0 and 7 of eight.

#1493's step is one that repeats its recurrent layers, from the first on: those before are shorter.
#638 and #761 have the network and the optimizers of #715, but for the MLP's slope: no shape tells them apart.

`python -m tests.fake_gpu.training_trace` prints what they did as JSON.
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pgolf.model.gpt import GPT
from pgolf.ranks import agreement
from pgolf.ranks.agreement import refuse_difference
from pgolf.ranks.group import Ranks
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.recipe import Recipe
from pgolf.train import loop
from pgolf.train.averaging import WeightAverage
from pgolf.train.checkpoint_record import PartFile
from pgolf.train.checkpoints import Checkpoints
from pgolf.train.optimizers import Optimizers
from pgolf.train.spans import SpanReader
from pgolf.train.state import TrainingState
from pgolf.train.train_job import CheckpointPlace
from tests.fake_gpu.fake_node import DEVICE, WORLD_SIZE, fake_rank
from tests.fake_gpu.recorder import Recorder

SYSTEMS = ("pr715", "pr745", "pr792", "pr1493")
# The one place that reads a value on the device: whether all digests are equal.
COMPARING = "ranks.agreement.refuse_difference"

# What no published run had in effect, all at once: rounding, its penalty and the mean of snapshots from the first step.
OPTIONS = {
    "priming_steps": 1,
    "warmdown_steps": 100,
    "late_qat_below_scale": 1.0,
    "crownq_weight": 0.01,
    "average": "swa_of_ema",
    "swa_every_steps": 1,
}


class MarkedStream:
    """A token stream of zeros that notes how far the recorder is whenever a step reads its span."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.marks: list[tuple[int, int, int]] = []
        self.bytes: list[int] = []
        self.compared: list[dict[str, Any]] = []

    def compare(self, tensors: Mapping[str, Tensor], ranks: Ranks, what: str) -> None:
        """What the ranks do to compare their state, at a checkpoint and at the end, is listed apart from the steps."""
        before, recorder = self._now(), self.recorder
        with patch.object(agreement, "_digest", _digest_by_kind()):
            refuse_difference(tensors, ranks, what)
        lists: tuple[list[Any], ...] = (recorder.collectives, recorder.read_back, recorder.waits)
        names = ("collectives", "read_back", "waits")
        self.compared.append({name: each[place:] for name, each, place in zip(names, lists, before)})
        for each, place in zip(lists, before):
            del each[place:]

    def seek(self, _position: int) -> None:
        """Called once per span, and a rank of eight has one span per step."""
        self.marks.append(self._now())
        self.bytes.append(self.recorder.bytes)

    def since(self, first: int, end: int | None = None) -> dict[str, Any]:
        """What was recorded from the `first` span to before the `end`th, or until now."""
        recorder = self.recorder
        (a, b, c), (x, y, z) = self.marks[first], self._now() if end is None else self.marks[end]
        return {
            "collectives": recorder.collectives[a:x],
            "read_back": recorder.read_back[b:y],
            "waits": recorder.waits[c:z],
        }

    def _now(self) -> tuple[int, int, int]:
        return len(self.recorder.collectives), len(self.recorder.read_back), len(self.recorder.waits)

    def take(self, tokens: int) -> npt.NDArray[np.uint16]:
        """Zeros, uint16 [tokens]."""
        return np.zeros(tokens, np.uint16)


def _digest_by_kind() -> Callable[[Tensor], Tensor]:
    """Digests of which one is made for all tensors of a shape, layout and dtype: without data there is no other."""
    plain, made = agreement._digest, dict[Any, Tensor]()

    def digest(tensor: Tensor) -> Tensor:
        kind = (tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if kind not in made:
            made[kind] = plain(tensor)
        return made[kind]

    return digest


class DoneAtOnce:
    """The executor of `Checkpoints` without its thread: fake tensors cannot be written."""

    def submit(self, work: Any, *arguments: Any) -> Future[Any]:
        """A finished part of a checkpoint; the record of it runs as it is."""
        done: Future[Any] = Future()
        done.set_result(PartFile(size_bytes=1, sha256="00" * 32) if work.__name__ == "_write_part" else None)
        assert arguments
        return done


def trace(recipe: Recipe, rank: int) -> dict[str, Any]:
    """One step."""
    with fake_rank(rank) as ranks, Recorder(may_read=(COMPARING,)) as recorder:
        with DEVICE:
            model = GPT(recipe.model)
        weights_bytes = recorder.bytes
        stream = MarkedStream(recorder)
        _train(model, recipe, stream, ranks, steps=1)
        return stream.since(0) | {
            "compared": stream.compared,
            "operators": recorder.operators,
            "flops": recorder.flops,
            "weights_bytes": weights_bytes,
            "state_bytes": stream.bytes[0],
            "peak_bytes": recorder.peak_bytes,
        }


def with_options(recipe: Recipe) -> dict[str, Any]:
    """Priming, a step with a checkpoint after it, and the last step; with everything on that recipes may switch on."""
    with fake_rank(0) as ranks, Recorder(may_read=(COMPARING,)) as recorder:
        with DEVICE:
            model = GPT(recipe.model)
        before_bytes = recorder.bytes
        stream = MarkedStream(recorder)
        loop.prime(model, recipe.train.model_copy(update=OPTIONS), SpanReader(stream, recipe.train), ranks)
        priming = stream.since(0) | {"left_bytes": recorder.bytes - before_bytes}
        stream.marks.clear()
        _train(model, recipe, stream, ranks, steps=2, keeper=_keeper(ranks), **OPTIONS)
        return {
            "priming": priming,
            "step and checkpoint": stream.since(0, 1),
            "last step": stream.since(1),
            "operators": recorder.operators,
        }


def _train(
    model: GPT,
    recipe: Recipe,
    stream: MarkedStream,
    ranks: Ranks,
    *,
    steps: int,
    keeper: Checkpoints | None = None,
    **updates: Any,
) -> None:
    """Train the way `pgolf.train.rank` does on CUDA, one step launched ahead, by a clock that stands still."""
    fixed = {"steps": steps, "clock_limit_s": None, "recurrence_from": None}
    config = recipe.train.model_copy(update=updates | fixed)
    spans = SpanReader(stream, config)
    with patch.object(loop, "refuse_difference", stream.compare):
        loop.train(model, config, spans, ranks, clock_s=lambda: 0.0, on_step=lambda _report: None, lag=1, keeper=keeper)


def parts_of_checkpoints(recipe: Recipe) -> dict[int, Any]:
    """By rank: name, device and bytes of every host copy it writes; and all state on one rank."""
    found: dict[int, Any] = {}
    for rank in range(WORLD_SIZE):
        with fake_rank(rank) as ranks, Recorder():
            with DEVICE:
                model = GPT(recipe.model)
            state = TrainingState(
                model, Optimizers(model, recipe.train, ranks), WeightAverage(model.state_dict(), recipe.train)
            )
            keeper = _keeper(ranks)
            keeper.restore(state)
            keeper.keep(state)
            found[rank] = {
                "copied": {name: [tensor.device.type, tensor.nbytes] for name, tensor in keeper._host.items()},
                "shared": {name: tensor.nbytes for name, tensor in state.shared.items()},
                "own": {name: tensor.nbytes for name, tensor in state.own.items()},
            }
    return found


def _keeper(ranks: Ranks) -> Checkpoints:
    # Due at every step: the clock stands still at 0 s.
    keeper = Checkpoints(CheckpointPlace(folder=Path("nowhere"), every_s=-1, of={}, resumes=False), ranks)
    keeper._thread.shutdown()
    keeper._thread = DoneAtOnce()  # type: ignore[assignment]
    return keeper


def main() -> None:
    """Trace everything and print it."""
    banks = recipe_named("pr745")
    found = {
        "systems": {name: trace(recipe_named(name), 0) for name in SYSTEMS},
        "last rank": {name: trace(recipe_named(name), WORLD_SIZE - 1) for name in ("pr715", "pr745")},
        "options": with_options(banks),
        "parts": parts_of_checkpoints(banks),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
