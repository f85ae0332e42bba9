"""Training batches: consecutive spans of the token stream, the same for any number of ranks.

Shapes: B rows of a span, T positions of a row.
"""

import numpy as np
import torch
from torch import Tensor

from pgolf.corpus.shards import Tokens, TokenStream
from pgolf.train.config import TrainConfig


class SpanReader:
    """Random access to the spans of optimizer steps.

    A span of n targets has n + 1 stream tokens; its last token is a target only, and the next span starts after it.
    """

    def __init__(self, stream: TokenStream, config: TrainConfig) -> None:
        self.stream = stream
        self.config = config

    def read(self, step: int, index: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Inputs and targets of span `index` of a step, int64 [B, T] each, on `device`."""
        length = self.config.tokens_per_span + 1
        self.stream.seek((step * self.config.spans_per_step + index) * length)
        span = on_device(self.stream.take(length), device)
        rows = (-1, self.config.sequence_length)
        return span[:-1].view(rows), span[1:].view(rows)


def on_device(tokens: Tokens, device: torch.device) -> Tensor:
    """Tokens as int64, in the same shape."""
    # torch has few operations on uint16: transfer as int16 and mask off the sign extension on the device.
    held = torch.from_numpy(tokens.view(np.int16))
    if device.type == "cuda":
        held = held.pin_memory().to(device, non_blocking=True)  # else the host would wait for earlier steps
    return held.long() & 0xFFFF
