"""Paired bootstrap over documents: is one run better than another on this text, whatever documents it is made of?

Targets of one document hang together, so documents are drawn, not targets. The interval says what another text of the
same kind would have shown of these trained networks; it says nothing of other seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgolf.errors import DataError

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

LEAST_DOCUMENTS = 10
RESAMPLES = 9_999
LEVEL = 0.95

# Of more documents, so many neighbours are drawn together that this many blocks are left: no interval is narrower
# for it, and the memory of a resampling stays small.
_MOST_BLOCKS = 5_000
_SEED = 0  # the same documents are drawn by whoever asks


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentTest:
    """What a paired bootstrap found. gain_nats: base minus candidate per target, positive if the candidate is better.

    low_nats, high_nats: the 95 % percentile interval. p: share of resampled texts on which the gain is at most
    margin_nats, counted with the text itself (Davison and Hinkley 1997, 4.2), so never 0.
    """

    documents: int
    targets: int
    gain_nats: float
    low_nats: float
    high_nats: float
    margin_nats: float
    p: float


def compare_documents(
    candidate_nats: Sequence[float] | Float64Array,
    base_nats: Sequence[float] | Float64Array,
    sizes: Sequence[int] | Int64Array,
    *,
    margin_nats: float,
) -> DocumentTest:
    """Loss sums per document of both, and the targets (or bytes) of each document, in the order of the text.

    Raises DataError for fewer than 10 documents, and for arrays of different lengths.
    Source: Efron and Tibshirani 1993, chapter 13 (percentile interval of a ratio of sums).
    """
    # Imported lazily: it takes a whole second, and most commands compare nothing.
    from scipy.stats import bootstrap

    gain_K = np.asarray(base_nats, np.float64) - np.asarray(candidate_nats, np.float64)
    size_K = np.asarray(sizes, np.float64)
    if gain_K.shape != size_K.shape or gain_K.ndim != 1:
        raise DataError(f"losses of {len(gain_K):,} documents and sizes of {len(size_K):,} cannot be paired")
    # A document of which no target was scored cannot be drawn.
    gain_K, size_K = gain_K[size_K > 0], size_K[size_K > 0]
    if len(size_K) < LEAST_DOCUMENTS:
        raise DataError(
            f"{len(size_K)} documents were scored; resampling them needs {LEAST_DOCUMENTS} or more: validate on more "
            "text"
        )
    blocks = np.linspace(0, len(size_K), min(len(size_K), _MOST_BLOCKS), endpoint=False).astype(np.int64)
    sums = np.add.reduceat(gain_K, blocks), np.add.reduceat(size_K, blocks)
    found = bootstrap(
        sums,
        _per_target,
        n_resamples=RESAMPLES,
        batch=max(1, 4_000_000 // len(blocks)),
        vectorized=True,
        paired=True,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    )
    drawn = found.bootstrap_distribution
    return DocumentTest(
        documents=len(size_K),
        targets=int(size_K.sum()),
        gain_nats=float(_per_target(*sums)),
        low_nats=float(found.confidence_interval.low),
        high_nats=float(found.confidence_interval.high),
        margin_nats=margin_nats,
        p=float((1 + np.count_nonzero(drawn <= margin_nats)) / (1 + RESAMPLES)),
    )


def _per_target(gain: Float64Array, size: Float64Array, axis: int = -1) -> Float64Array:
    total: Float64Array = gain.sum(axis=axis) / size.sum(axis=axis)
    return total
