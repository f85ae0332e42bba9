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
class Reported:
    """What the author reports about the text of the trial; None where nothing was reported.

    target_bytes: function(tokens) -> bytes that each target is counted as, [N].
    """

    loss_sum_nats: float | None = None
    bpb: float | None = None
    targets: int | None = None
    bytes: int | None = None
    target_bytes: Callable[[Tokens], npt.NDArray[np.int64]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A scorer on trial.

    fresh: function() -> a copy of the scorer that has seen nothing yet, as a decoder elsewhere would start with.
    variants: the same scorer as it runs elsewhere, by what differs ("2 processes", "batches of 7"); each must give the
    same losses. trained_on: the training stream, shard by shard, where it is to be compared with the text.
    """

    name: str
    scorer: Scorer
    declared: Declared = Declared()
    reported: Reported | None = None
    fresh: Callable[[], Scorer] | None = None
    variants: Mapping[str, Scorer] = field(default_factory=dict)
    trained_on: tuple[Path | npt.NDArray[Any], ...] = ()
