"""Test-time training with LoRA adapters: per document, score a chunk, then train fresh adapters on it.

Documents share nothing: neither adapter weights, nor optimizer state, nor context. So the numbers depend neither on
what else is scored nor on the number of threads and ranks.

Shapes: S targets of a chunk, D residual width, K hint columns, C = 2 + K columns of numbers, L targets of a document.
Source: Parameter Golf PR #1610, LoRA of Hu et al. 2021.
"""

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from pgolf.errors import NonFiniteLoss
from pgolf.eval.config import ScoreConfig
from pgolf.eval.document_starts import document_shares
from pgolf.eval.forward import Stream, computed, network_columns
from pgolf.eval.pieces import Piece
from pgolf.eval.ttt_config import AdaptedMatrix, LoraConfig
from pgolf.eval.windows import Int64Array
from pgolf.model.gpt import GPT
from pgolf.model.linear import Adapter, CastedLinear
from pgolf.ranks.group import Ranks


class DocumentPass:
    """Scores the documents of a stream with a frozen network plus learning adapters.

    Needs the memory of `threads` forward and backward passes over one window.
    """

    def __init__(self, model: GPT, stream: Stream, borders: Int64Array, config: ScoreConfig) -> None:
        assert isinstance(config.ttt, LoraConfig)
        self._model, self._stream, self._borders = model.requires_grad_(False), stream, borders
        self._config, self._ttt = config, config.ttt
        self._device = model.tok_emb.weight.device
        generator = torch.Generator().manual_seed(config.ttt.seed)
        self._first = [
            _uniform(config.ttt.rank, inputs, generator).to(self._device) for inputs, _ in _sizes(model, config.ttt)
        ]

    @property
    def steps(self) -> int:
        """Total number of optimizer steps."""
        chunks = -(-np.diff(self._borders) // self._ttt.chunk_targets)
        return int((chunks - 1).sum()) * self._ttt.epochs

    def pieces(self, *, ranks: Ranks, threads: int) -> Iterator[Piece]:
        """Yield one piece per document of this rank's share, in order. Raises NonFiniteLoss if an adapter diverges."""
        first, last = document_shares(self._borders, ranks.world_size)[ranks.rank : ranks.rank + 2].tolist()
        documents = range(first, last)
        found = computed(self._columns, documents, self._device, threads=threads)
        for document, columns in zip(documents, found, strict=True):
            if not np.isfinite(columns).all():
                raise NonFiniteLoss(
                    f"document {document:,} of the validation text (targets {self._borders[document] + 1:,} to "
                    f"{self._borders[document + 1]:,}) has a loss that is NaN or infinite; lower score.ttt.lr (now "
                    f"{self._ttt.lr:g}), or check the checkpoint"
                )
            yield Piece(int(self._borders[document]), columns)

    def _columns(self, document: int) -> Tensor:
        """Columns of one document, [C, L], float32 on the device."""
        ttt = self._ttt
        first, last = (int(border) for border in self._borders[document : document + 2])
        model, parameters = self._adapted()
        optimizer = torch.optim.AdamW(
            parameters, lr=ttt.lr, betas=(ttt.beta1, ttt.beta2), eps=ttt.eps, weight_decay=ttt.weight_decay
        )
        found = []
        for begin in range(first, last, ttt.chunk_targets):
            end = min(begin + ttt.chunk_targets, last)
            with torch.set_grad_enabled(end < last):
                columns = self._chunk(model, first, begin, end)
            found.append(columns.detach())
            if end == last:
                break
            for epoch in range(ttt.epochs):
                # The first step minimizes the losses just recorded, so they are not computed again.
                losses = columns[0] if epoch == 0 else self._chunk(model, first, begin, end)[0]
                gradients = torch.autograd.grad(losses.mean(), parameters)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient
                optimizer.step()
        return torch.cat(found, dim=1)

    def _chunk(self, model: GPT, first: int, begin: int, end: int) -> Tensor:
        """Columns [C, S] at positions begin .. end - 1, with up to a window of context from the same document.

        What is context hangs on where a whole chunk would end, not on where the document does: that comes later.
        """
        window = self._config.window
        start = max(first, begin + self._ttt.chunk_targets - window)
        span = self._stream.tokens(torch.arange(start, end + 1, device=self._device))
        h_SD = model.hidden(span[None, :-1], last=end - begin, rotary_length=window)[0]
        hints = self._stream.hints
        hints_SK = hints[begin:end] if hints.shape[1] else hints.new_empty(end - begin, 0)
        return network_columns(model, h_SD, span[begin - start + 1 :], hints_SK, self._config.logit_rounding)

    def _adapted(self) -> tuple[GPT, list[nn.Parameter]]:
        """A network sharing the weights, with fresh adapters, and their parameters: `down`, then `up`, per matrix."""
        model = copy.deepcopy(self._model, {id(parameter): parameter for parameter in self._model.parameters()})
        parameters: list[nn.Parameter] = []
        sizes = _sizes(model, self._ttt)
        for place, first, (_, outputs) in zip(_adapted_modules(model, self._ttt), self._first, sizes, strict=True):
            down = nn.Parameter(first.clone())
            up = nn.Parameter(torch.zeros(outputs, self._ttt.rank, device=self._device))
            parameters += [down, up]
            if isinstance(place, GPT):
                place.head_adapter = Adapter(down, up)
            else:
                place.adapter = Adapter(down, up)
        return model, parameters


def _adapted_modules(model: GPT, config: LoraConfig) -> Iterator[CastedLinear | GPT]:
    """The linear maps that get an adapter, layer by layer as configured; the GPT itself stands for its output head."""
    for block in model.block_list[: model.config.layers]:
        maps: dict[AdaptedMatrix, CastedLinear] = {
            "q": block.attn.c_q,
            "k": block.attn.c_k,
            "v": block.attn.c_v,
            "proj": block.attn.proj,
            "fc": block.mlp.fc,
            "mlp_proj": block.mlp.proj,
        }
        yield from (maps[name] for name in config.matrices if name != "head")
    if "head" in config.matrices:
        yield model


def _sizes(model: GPT, config: LoraConfig) -> list[tuple[int, int]]:
    """(inputs, outputs) of every adapted map."""
    weights = (
        place.tok_emb.weight if isinstance(place, GPT) else place.weight for place in _adapted_modules(model, config)
    )
    return [(weight.shape[1], weight.shape[0]) for weight in weights]


def _uniform(rank: int, inputs: int, generator: torch.Generator) -> Tensor:
    """[rank, inputs], uniform within ±1 / √inputs; drawn on the CPU, so equal on every device."""
    bound = 1 / math.sqrt(inputs)
    return (2 * torch.rand(rank, inputs, generator=generator) - 1) * bound
