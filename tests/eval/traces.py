"""Traces without files: what a network gives for a stream of tokens."""

import numpy as np

from pgolf.eval.forward import Stream
from pgolf.eval.trace import Trace


def stream_for(model, tokens, hints=None) -> Stream:
    return Stream.on(model.tok_emb.weight.device, tokens, hints)


def trace_of(pieces, plan, orders=()) -> Trace:
    """All pieces as one trace."""
    columns = zip(*(piece.trace(plan, orders).columns() for piece in pieces), strict=True)
    return Trace.of([np.concatenate(column) for column in columns], orders)
