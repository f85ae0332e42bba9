"""Nats to bits per byte: the unit every score is reported in.

A model's total loss in nats over ln 2 is the length in bits of the code it implies for the tokens; divided by the
UTF-8 bytes those tokens stand for, it is comparable between tokenizers. All sums are float64 and int64.
"""

import math

import numpy as np
import numpy.typing as npt

from pgolf.errors import DataError

LN2 = math.log(2.0)


def nats_to_bits(nats: float) -> float:
    """The same amount of information in bits."""
    return nats / LN2


def sum_nats(loss_nats: npt.NDArray[np.floating]) -> float:
    """Total loss in nats, accumulated in float64 whatever the input's precision."""
    return float(np.sum(loss_nats, dtype=np.float64))


def bits_per_byte(total_nats: float, total_bytes: int) -> float:
    """Bits per byte of a total loss in nats over text of `total_bytes` bytes.

    Raises DataError where there are no bytes: targets that are all BOS cost bits and stand for none.
    """
    _check_bytes(total_bytes)
    return total_nats / (LN2 * total_bytes)


def bpb_per_nat(targets: int, total_bytes: int) -> float:
    """Bits per byte that one nat per token amounts to: targets / (ln 2 · bytes).

    0.59225633 on the published validation set with 1,024 tokens (62,021,632 targets, 151,080,363 bytes).
    """
    _check_bytes(total_bytes)
    return targets / (LN2 * total_bytes)


def _check_bytes(total_bytes: int) -> None:
    if total_bytes <= 0:
        raise DataError(
            f"the scored tokens stand for {total_bytes:,} bytes; bits per byte need at least 1: "
            "check that the tokenizer belongs to these shards and that they hold more than document starts"
        )
