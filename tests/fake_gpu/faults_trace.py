"""Steps with one fault each, to see that a trace finds it; `python -m tests.fake_gpu.faults_trace` prints what it said.

Each stands for a way in which the loop could break on a GPU alone.
"""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pgolf.model.gpt import GPT
from pgolf.ranks.group import Ranks
from pgolf.recipes.catalog import recipe_named
from pgolf.train import loop, spans
from pgolf.train.averaging import WeightAverage
from pgolf.train.muon import MatrixMuon
from tests.fake_gpu import training_trace
from tests.fake_gpu.fake_node import DEVICE, WORLD_SIZE, fake_rank
from tests.fake_gpu.recorder import Recorder


def read_on_the_device() -> None:
    """The loop looks at the gradient's norm before it goes on."""
    plain = loop.average_and_clip

    def looking(*arguments: Any) -> Tensor:
        norm = plain(*arguments)
        _told(bool(norm > 0))
        return norm

    loop.average_and_clip = looking


def branch_in_the_loss() -> None:
    """A loss that asks whether any target is 0."""
    plain = GPT.loss

    def asking(model: GPT, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        _told(bool((targets_BT == 0).any()))
        return plain(model, tokens_BT, targets_BT)

    GPT.loss = asking  # type: ignore[method-assign, assignment]


def average_on_the_host() -> None:
    """An average that lies on the CPU."""
    plain = WeightAverage.__init__

    def on_host(average: WeightAverage, state: Any, config: Any) -> None:
        plain(average, state, config)
        assert average.ema is not None
        average.ema.average = {name: tensor.cpu() for name, tensor in average.ema.average.items()}

    WeightAverage.__init__ = on_host  # type: ignore[method-assign]


def wrong_dtype() -> None:
    """A step that multiplies matrices of two formats."""
    plain = GPT.logits
    GPT.logits = lambda model, h, rounding="once": plain(model, h, rounding) @ model.tok_emb.weight  # type: ignore


def blocking_copy() -> None:
    """Tokens that are copied from pageable memory."""

    def blocking(reader: spans.SpanReader, _step: int, _index: int, device: torch.device) -> tuple[Tensor, Tensor]:
        reader.stream.seek(0)
        span = torch.from_numpy(reader.stream.take(reader.config.tokens_per_span + 1).view("int16")).to(device).long()
        return span[:-1].view(-1, 2048), span[1:].view(-1, 2048)

    spans.SpanReader.read = blocking  # type: ignore[method-assign]


def one_rank_alone() -> None:
    """A collective that only the first rank asks for."""
    plain = MatrixMuon.step

    def asking(muon: MatrixMuon, **how: float) -> None:
        plain(muon, **how)
        if muon.ranks.rank == 0:
            muon.ranks.sum(torch.zeros(1, device=DEVICE))

    MatrixMuon.step = asking  # type: ignore[method-assign]


def two_copies_of_the_logits() -> None:
    """A loss that keeps one more float32 array of logits."""
    plain = GPT.logits

    def twice(model: GPT, h: Tensor, rounding: Any = "once") -> Tensor:
        logits = plain(model, h, rounding)
        return logits * logits.exp() * 0 + logits

    GPT.logits = twice  # type: ignore[method-assign]


def _told(_value: object) -> None:
    """What a faulty step does with a value it should not have."""


def small(rank: int) -> dict[str, Any]:
    """A step of #715 with one layer at full width."""
    recipe = recipe_named("pr715")
    model = recipe.model.model_copy(update={"layers": 1, "xsa_layers": (0,)})
    return training_trace.trace(recipe.model_copy(update={"model": model}), rank)


FAULTS = (
    read_on_the_device,
    branch_in_the_loss,
    average_on_the_host,
    wrong_dtype,
    blocking_copy,
    one_rank_alone,
    two_copies_of_the_logits,
)
PATCHED = (
    (loop, "average_and_clip"),
    (GPT, "loss"),
    (GPT, "logits"),
    (WeightAverage, "__init__"),
    (spans.SpanReader, "read"),
    (MatrixMuon, "step"),
)


def with_fault(fault: Callable[[], None] | None) -> dict[str, Any]:
    """What traces of ranks 0 and 7 found, or the error that ended them."""
    before = [getattr(owner, name) for owner, name in PATCHED]
    try:
        if fault is not None:
            fault()
        first, last = small(0), small(WORLD_SIZE - 1)
        return {
            "waits": first["waits"],
            "equal": first["collectives"] == last["collectives"],
            "peak_bytes": first["peak_bytes"],
        }
    except Exception as error:
        return {"error": str(error)}
    finally:
        for (owner, name), plain in zip(PATCHED, before, strict=True):
            setattr(owner, name, plain)


def freed_memory() -> list[int]:
    """Bytes of a tensor, of it and a view, of one more of 1 byte, and after the first and its view are gone."""
    with fake_rank(0), Recorder() as recorder:
        first = torch.empty(1024, device=DEVICE)
        seen = [recorder.bytes]
        view = first[:10].view(2, 5)
        seen.append(recorder.bytes)
        second = torch.empty(1, dtype=torch.uint8, device=DEVICE)
        seen.append(recorder.bytes)
        del first, view
        seen.append(recorder.bytes)
        del second
        return [*seen, recorder.peak_bytes]


def main() -> None:
    """Print what every fault looks like."""
    found: dict[str, Any] = {fault.__name__: with_fault(fault) for fault in FAULTS}
    print(json.dumps(found | {"none": with_fault(None), "memory": freed_memory(), "world": _world()}))


def _world() -> list[int]:
    with fake_rank(3) as ranks:
        assert isinstance(ranks, Ranks)
        return [ranks.rank, ranks.world_size, torch.distributed.get_rank()]


if __name__ == "__main__":
    main()
