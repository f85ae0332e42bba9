"""An arithmetic coder over integer frequencies: what proves that losses are the length of a code.

Source: Witten, Neal and Cleary 1987, with 64-bit bounds. A symbol of frequency f in a total of `TOTAL` costs
log2(TOTAL / f) bits, and a whole message at most 2 bits more than its symbols' sum.
Shapes: V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pgolf.audit.scorer import Losses

Frequencies = npt.NDArray[np.int64]

_BITS = 62
_TOP, _HALF, _QUARTER = 1 << _BITS, 1 << (_BITS - 1), 1 << (_BITS - 2)
TOTAL = 1 << 40


def frequencies_of(losses_V: Losses) -> Frequencies:
    """Whole numbers in proportion to exp(-loss), at least 1 each, that sum to TOTAL, [V].

    A symbol's cost is its loss plus ln(sum of exp(-loss)), within V / TOTAL: for a distribution the loss itself.
    """
    p_V = np.exp(-(losses_V - losses_V.min()))
    frequency_V: Frequencies = np.maximum(1, np.floor(p_V / p_V.sum() * (TOTAL - len(p_V)))).astype(np.int64)
    frequency_V[np.argmax(frequency_V)] += TOTAL - int(frequency_V.sum())
    assert frequency_V.min() > 0
    return frequency_V


def encode(symbols: Iterable[int], frequencies: Iterable[Frequencies]) -> list[int]:
    """The bits of a message; frequencies: before each symbol, those it is coded with."""
    low, high, pending, bits = 0, _TOP - 1, 0, list[int]()

    def put(bit: int) -> None:
        nonlocal pending
        bits.append(bit)
        bits.extend([1 - bit] * pending)
        pending = 0

    for symbol, frequency_V in zip(symbols, frequencies):
        below = int(frequency_V[:symbol].sum())
        low, high = _narrowed(low, high, below, below + int(frequency_V[symbol]))
        while True:
            if high < _HALF:
                put(0)
            elif low >= _HALF:
                put(1)
                low, high = low - _HALF, high - _HALF
            elif low >= _QUARTER and high < _HALF + _QUARTER:
                pending += 1
                low, high = low - _QUARTER, high - _QUARTER
            else:
                break
            low, high = 2 * low, 2 * high + 1
    pending += 1
    put(int(low >= _QUARTER))
    return bits


def decode(bits: Sequence[int], count: int, frequencies: Callable[[list[int]], Frequencies]) -> list[int]:
    """The `count` symbols of a message; frequencies(symbols so far): those of the next."""
    low, high, place = 0, _TOP - 1, _BITS
    value = int("".join(map(str, [*bits[:_BITS], *[0] * max(0, _BITS - len(bits))])), 2)
    symbols: list[int] = []
    while len(symbols) < count:
        edges = np.cumsum(frequencies(symbols))
        scaled = ((value - low + 1) * TOTAL - 1) // (high - low + 1)
        symbol = int(np.searchsorted(edges, scaled, side="right"))
        low, high = _narrowed(low, high, int(edges[symbol - 1]) if symbol else 0, int(edges[symbol]))
        symbols.append(symbol)
        while True:
            if high < _HALF:
                off = 0
            elif low >= _HALF:
                off = _HALF
            elif low >= _QUARTER and high < _HALF + _QUARTER:
                off = _QUARTER
            else:
                break
            bit = bits[place] if place < len(bits) else 0
            low, high, value, place = 2 * (low - off), 2 * (high - off) + 1, 2 * (value - off) + bit, place + 1
    return symbols


def _narrowed(low: int, high: int, first: int, last: int) -> tuple[int, int]:
    width = high - low + 1
    return low + width * first // TOTAL, low + width * last // TOTAL - 1
