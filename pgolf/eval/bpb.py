"""Nats to bits per byte, the unit in which every score is reported.

A model's total loss in nats divided by ln 2 is the code length, in bits, that it implies for the tokens; divided by the
UTF-8 bytes behind those tokens, it is comparable between tokenizers. All sums are float64 and int64.
"""

import math

import numpy as np
import numpy.typing as npt

from pgolf.errors import DataError

LN2 = math.log(2.0)


def nats_to_bits(nats: float) -> float:
    """Convert nats to bits."""
    return nats / LN2


def sum_nats(loss_nats: npt.NDArray[np.floating]) -> float:
    """Total loss in nats, accumulated in float64 regardless of the input's precision."""
    return float(np.sum(loss_nats, dtype=np.float64))


def bits_per_byte(total_nats: float, total_bytes: int) -> float:
    """Bits per byte of a total loss in nats over text of `total_bytes` bytes.

    Raises DataError if there are no bytes: targets that are all BOS cost bits but have no text.
    """
    _check_bytes(total_bytes)
    return total_nats / (LN2 * total_bytes)


def bpb_per_nat(targets: int, total_bytes: int) -> float:
    """Bits per byte of a loss of one nat per token: targets / (ln 2 · bytes).

    0.59225633 on the published validation set with a vocabulary of 1,024 (62,021,632 targets, 151,080,363 bytes).
    """
    _check_bytes(total_bytes)
    return targets / (LN2 * total_bytes)


def _check_bytes(total_bytes: int) -> None:
    if total_bytes <= 0:
        raise DataError(
            f"the scored tokens have {total_bytes:,} bytes of text; bits per byte need at least 1: "
            "check that the tokenizer belongs to these shards and that they hold more than document starts"
        )
