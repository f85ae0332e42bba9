"""Encodes matrices of integer codes as entropy-coded bytes, which `pgolf.pack.code_reader` decodes."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from pgolf.pack.code_model import TOTAL_BITS, Codes, Frequencies, Ints, Surroundings
from pgolf.pack.code_reader import STATE_LEAST, WORD_BITS, states_for


def bits_of(codes: Codes) -> int:
    """The least b, from 1, for which all codes lie in [-2^(b-1), 2^(b-1))."""
    largest = max(int(codes.max(initial=0)), -1 - int(codes.min(initial=0)))
    return largest.bit_length() + 1


def intervals(matrices: Sequence[Codes]) -> Iterator[tuple[Ints, Ints]]:
    """Of every code, diagonal after diagonal: where its interval in [0, 2^16) begins, and how wide it is.

    width / 2^16 is the probability that the model gives the code.
    """
    alphabets: dict[int, Frequencies] = {}
    for matrix in matrices:
        bits = bits_of(matrix)
        frequencies = alphabets[bits] = alphabets.get(bits) or Frequencies(bits)
        rows, columns = matrix.shape
        surroundings = Surroundings(rows, columns, bits)
        codes = np.ascontiguousarray(matrix).reshape(-1)
        for place_N, context_N, shift_N in surroundings:
            code_N = codes[place_N].astype(np.int64)
            symbol_N = (code_N - frequencies.smallest - shift_N) & (frequencies.symbols - 1)
            index_N = context_N * frequencies.symbols + symbol_N
            low_N = frequencies.edges[index_N]
            yield low_N - (context_N << TOTAL_BITS), frequencies.edges[index_N + 1] - low_N
            frequencies.count(index_N)
            surroundings.learn(code_N)


def encode_matrices(matrices: Sequence[Codes], *, stop: threading.Event | None = None) -> bytes:
    """States and words of the matrices [R, C], in order; at most 8 bytes a state above the model's own code length.

    stop: set by another thread, it ends the work early; the result is then empty.
    """
    spans = []
    for low_N, width_N in intervals(matrices):
        if stop is not None and stop.is_set():
            return b""
        # Half the memory: both are below 2^16.
        spans.append((low_N.astype(np.uint16), width_N.astype(np.uint16)))
    states = np.full(states_for(sum(matrix.size for matrix in matrices)), STATE_LEAST, np.int64)
    words: list[Ints] = []
    # rANS is a stack: what is to be read first is written last.
    for all_low_N, all_width_N in reversed(spans):
        for start in reversed(range(0, len(all_low_N), len(states))):
            width_N = all_width_N[start : start + len(states)].astype(np.int64)
            state_N = states[: len(width_N)]
            full = np.flatnonzero(state_N >> (63 - TOTAL_BITS) >= width_N)
            words.append(state_N[full] & ((1 << WORD_BITS) - 1))
            state_N[full] >>= WORD_BITS
            times_N, rest_N = np.divmod(state_N, width_N)
            state_N[:] = (times_N << TOTAL_BITS) + rest_N + all_low_N[start : start + len(states)]
    # A first empty part: there may be no words at all.
    stream = np.concatenate([np.empty(0, np.int64), *reversed(words)])
    return states.astype("<i8").tobytes() + stream.astype("<u4").tobytes()
