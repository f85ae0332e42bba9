"""How often the compiler captures the loss of a training, with small networks on a CPU.

`python -m tests.fake_gpu.graphs_trace` prints it as JSON, by network and whether rounding begins midway.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from pgolf.model.config import ModelConfig
from pgolf.model.init import initial_model
from pgolf.ranks.group import Ranks
from pgolf.recipes.catalog import recipe_named
from pgolf.train.config import TrainConfig
from pgolf.train.loop import StepReport, prime, train
from pgolf.train.network_loss import NetworkLoss, network_loss
from pgolf.train.spans import SpanReader

SYSTEMS = ("pr715", "pr745", "pr792")  # the loss of #638 is that of #715, and that of #761 but for a number
STEPS = 16


class RandomStream:
    """Tokens that differ at every position, equal on every run."""

    def __init__(self, vocab_size: int) -> None:
        self.tokens = np.random.default_rng(0).integers(0, vocab_size, 1 << 14).astype(np.uint16)
        self.position = 0

    def seek(self, position: int) -> None:
        """Go to a position, modulo the stream."""
        self.position = position % (len(self.tokens) // 2)

    def take(self, count: int) -> npt.NDArray[np.uint16]:
        """The next tokens."""
        return self.tokens[self.position : self.position + count]


def few_layers(name: str) -> ModelConfig:
    """The system's small twin with as many layers as its switches need."""
    model = recipe_named(f"{name}-tiny").model
    fields: dict[str, Any] = {"layers": 2, "xsa_layers": (0, 1)}
    if model.recurrence:
        fields = {"layers": 2, "recurrence": (0, 1)}
        if model.recurrence_shares == "matrices":
            fields["xsa_layers"] = (1, 2, 3)
    if model.parallel_from is not None:
        fields["parallel_from"] = 1
    if model.value_embedding_layers:
        fields["value_embedding_layers"] = (0, 1)
    return ModelConfig.model_validate(dict(model) | fields)


def captures(name: str, *, rounding: bool) -> dict[str, Any]:
    """Graphs captured in priming and in training, and whether losses are those of the network that is not compiled."""
    graphs: list[fx.GraphModule] = []

    def backend(graph: fx.GraphModule, _inputs: object) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    model_config = few_layers(name)
    config = TrainConfig.model_validate(
        dict(recipe_named(f"{name}-tiny").train)
        | {"tokens_per_step": 64, "spans_per_step": 1, "sequence_length": 32, "steps": STEPS, "priming_steps": 1}
        | {"warmdown_steps": STEPS, "late_qat_below_scale": 0.5 if rounding else None}
    )
    plain_compile = torch.compile
    torch.compile = lambda loss, **options: plain_compile(loss, backend=backend, **options)
    torch._dynamo.reset()
    compiled = initial_model(model_config, 1)
    loss = network_loss(compiled, config, torch.device("cuda"))
    torch.compile = plain_compile
    stream = RandomStream(model_config.vocab_size)
    prime(compiled, config, SpanReader(stream, config), Ranks(), loss=loss)
    primed = len(graphs)
    losses = _losses(compiled, config, stream, loss)
    plain = _losses(initial_model(model_config, 1), config, stream, None)
    return {
        "primed": primed,
        "trained": len(graphs),
        "rounds": [any(node.target is torch.round for node in graph.graph.nodes) for graph in graphs],
        "equal": losses == plain,
        "steps": len(losses),
    }


def _losses(model: Any, config: TrainConfig, stream: RandomStream, loss: NetworkLoss | None) -> list[float]:
    reports: list[StepReport] = []
    train(
        model,
        config,
        SpanReader(stream, config),
        Ranks(),
        clock_s=lambda: 0.0,
        on_step=reports.append,
        loss=loss,
    )
    return [report.loss_nats for report in reports]


def main() -> None:
    """Count them all."""
    torch.set_num_threads(1)
    found = {name: captures(name, rounding=True) for name in SYSTEMS}
    found["no rounding"] = captures("pr715", rounding=False)
    found["recurrence midway"] = captures("pr1493", rounding=False)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
