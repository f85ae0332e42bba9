"""What is on trial: a scorer, what its author declares about it, and what was reported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgolf.audit.orders import ORDERS, Order
from pgolf.audit.scorer import Scorer, Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the author says about how the scorer works; the audit holds it to that.

    documents_apart: no document's losses depend on another document. order: the order in which targets are scored,
    where a target's loss may depend on those before it in that order alone. chunk_targets: after how many targets the
    scorer learns or takes counts in, None: not said.
    """

    documents_apart: bool = False
    order: str = "file"
    chunk_targets: int | None = None

    @property
    def places(self) -> Order:
        """The order as a function of the text. Raises KeyError for an order without a definition."""
        return ORDERS[self.order]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """The validation text that the trial's text is the beginning of; what is reported is about all of it.

    tokens: x[0..]. bos_id: starts every document, or None. bytes: of the raw text behind all its targets, None where
    they are not known. loss_sum_nats: what the scorer says of it when it is asked once, None: `lack` says why not.
    """

    tokens: Tokens
    bos_id: int | None = None
    bytes: int | None = None
    loss_sum_nats: float | None = None
    lack: str = "it was not scored"

    @property
    def targets(self) -> int:
        """N of all of it."""
        return len(self.tokens) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What the author reports about the text of the trial, or the whole one; None where nothing was reported.

    target_bytes: function(tokens) -> bytes that each target is counted as, [N]. off_nats, off_bpb: of a mean loss and
    of bits per byte, half a unit of the last digit that was written; four digits at least are taken for written.
    """

    loss_sum_nats: float | None = None
    bpb: float | None = None
    targets: int | None = None
    bytes: int | None = None
    target_bytes: Callable[[Tokens], npt.NDArray[np.int64]] | None = None
    off_nats: float = 0.5e-4
    off_bpb: float = 0.5e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A scorer on trial.

    fresh: function() -> a copy of the scorer that has seen nothing yet, as a decoder elsewhere would start with.
    variants: the same scorer as it runs elsewhere, by what differs ("2 processes", "batches of 7"); each must give the
    same losses. trained_on: the training stream, shard by shard, where it is to be compared with the text.
    whole: what the text is the beginning of, where it is.
    """

    name: str
    scorer: Scorer
    declared: Declared = Declared()
    reported: Reported | None = None
    fresh: Callable[[], Scorer] | None = None
    variants: Mapping[str, Scorer] = field(default_factory=dict)
    trained_on: tuple[Path | npt.NDArray[Any], ...] = ()
    whole: Whole | None = None
