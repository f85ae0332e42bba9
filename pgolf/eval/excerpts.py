"""Excerpts of the validation text with the loss of every token, chosen by place and never by loss."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece

from pgolf.corpus.byte_lengths import SPACE
from pgolf.corpus.dataset import Dataset
from pgolf.corpus.model_file import read_model
from pgolf.corpus.piece_text import piece_text
from pgolf.corpus.shards import Tokens, validation_tokens
from pgolf.eval.document_starts import document_borders
from pgolf.eval.trace import iterate_trace, read_plan
from pgolf.eval.windows import Int64Array

EXCERPTS = 5
EXCERPT_TOKENS = 160


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """One target of an excerpt. special: the name of a token that stands for no text."""

    sample: int
    document: int
    target: int
    text: str
    special: str | None
    loss_nats: float


def excerpts(
    trace_path: Path, dataset: Dataset, *, most: int = EXCERPTS, most_tokens: int = EXCERPT_TOKENS
) -> list[ScoredToken]:
    """The beginnings of `most` documents spread evenly over the validation text, whole characters joined.

    Where a target was scored several times the last score counts, as in no sum: it is only shown. Raises DataError or
    a subclass for files that cannot be read.
    """
    plan = read_plan(trace_path)
    tokens = validation_tokens(dataset, window=plan.window)
    borders_K = document_borders(tokens, dataset.bos_id)
    documents = len(borders_K) - 1
    chosen = sorted({documents * (2 * number + 1) // (2 * most) for number in range(most)})
    ranges = [(int(borders_K[k]) + 1, min(int(borders_K[k + 1]), int(borders_K[k]) + most_tokens)) for k in chosen]
    ranges = [(first, min(last, plan.targets)) for first, last in ranges]
    losses = _losses(trace_path, np.concatenate([np.arange(first, last + 1) for first, last in ranges]))
    processor = read_model(dataset.tokenizer_model)
    found = []
    for sample, (document, (first, last)) in enumerate(zip(chosen, ranges)):
        for target, (text, special) in zip(range(first, last + 1), _texts(processor, tokens[first : last + 1])):
            found.append(ScoredToken(sample, document, target, text, special, losses[target]))
    return found


def _losses(path: Path, wanted: Int64Array) -> dict[int, float]:
    """Target -> loss, in nats."""
    found: dict[int, float] = {}
    for block in iterate_trace(path):
        places = np.flatnonzero(np.isin(block.target, wanted))
        found.update(zip(block.target[places].tolist(), block.loss_nats[places].tolist()))
    return found


def _texts(processor: sentencepiece.SentencePieceProcessor, tokens: Tokens) -> Iterator[tuple[str, str | None]]:
    """What each token adds to the text; a character of several byte pieces comes with its last."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens.tolist():
        if processor.is_byte(token):
            yield decoder.decode(piece_text(processor, token)), None
            continue
        cut = decoder.decode(b"", final=True)  # of a character that another token interrupts
        decoder.reset()
        if processor.is_control(token) or processor.is_unknown(token) or processor.is_unused(token):
            yield cut, processor.id_to_piece(token)
        else:
            yield cut + processor.id_to_piece(token).replace(SPACE, " "), None
