"""Decodes matrices of integer codes from entropy-coded bytes.

The coder is rANS (Duda 2013) with interleaved states (Giesen 2014): the codes that are predicted together are dealt to
the states in turn, and all states draw on one stream of words. docs/format.md gives it byte by byte.
Shapes: N codes of one anti-diagonal, or of a part of it that the states take at once.
"""

from collections.abc import Sequence

import numpy as np

from pgolf.pack.code_model import TOTAL_BITS, Codes, Frequencies, Ints, Surroundings

WORD_BITS = 32
# A state lies in [2^31, 2^63): positive in 64 bits, and one word always refills it.
STATE_LEAST = 1 << 31
_MOST_STATES = 256
_CODES_PER_STATE = 1 << 15


def states_for(codes: int) -> int:
    """How many states so many codes have, a power of two: each costs some 6 bytes, more of them save time."""
    return 1 << (max(1, min(_MOST_STATES, codes // _CODES_PER_STATE)).bit_length() - 1)


def decode_matrices(coded: bytes, described: Sequence[tuple[int, int, int]]) -> list[Codes]:
    """The matrices described by (rows, columns, bits), in order.

    Raises ValueError for bytes that were not written for such matrices.
    """
    states = _States(coded, states_for(sum(rows * columns for rows, columns, _bits in described)))
    alphabets: dict[int, Frequencies] = {}
    matrices = []
    for rows, columns, bits in described:
        # Matrices of as many bits share what is learnt of them.
        frequencies = alphabets[bits] = alphabets.get(bits) or Frequencies(bits)
        surroundings = Surroundings(rows, columns, bits)
        codes = np.empty(rows * columns, np.int8)
        for place_N, context_N, shift_N in surroundings:
            index_N = states.indices(context_N, frequencies.edges)
            code_N = ((index_N + shift_N) & (frequencies.symbols - 1)) + frequencies.smallest
            codes[place_N] = code_N
            frequencies.count(index_N)
            surroundings.learn(code_N)
        matrices.append(codes.reshape(rows, columns))
    states.require_end()
    return matrices


class _States:
    """The states of the coder, and the words they draw on."""

    def __init__(self, coded: bytes, states: int) -> None:
        if len(coded) < 8 * states or len(coded) % 4:
            raise ValueError(f"{len(coded):,} bytes of codes, {states} states and whole words are expected")
        self._states = np.frombuffer(coded, "<i8", states).astype(np.int64)
        self._words = np.frombuffer(coded, "<u4", offset=8 * states)
        self._taken = 0
        if int(self._states.min()) < STATE_LEAST:
            raise ValueError(f"a state of the codes begins at {int(self._states.min())}")

    def indices(self, context_N: Ints, edges: Ints) -> Ints:
        """context · S + symbol [N] of the next codes. Raises ValueError where no words are left."""
        base_N = context_N << TOTAL_BITS
        parts = []
        for start in range(0, len(base_N), len(self._states)):
            part_N = base_N[start : start + len(self._states)]
            state_N = self._states[: len(part_N)]
            number_N = (state_N & ((1 << TOTAL_BITS) - 1)) + part_N
            index_N = np.searchsorted(edges, number_N, side="right") - 1
            low_N = edges[index_N]
            state_N >>= TOTAL_BITS
            state_N *= edges[index_N + 1] - low_N
            state_N += number_N - low_N
            drained = np.flatnonzero(state_N < STATE_LEAST)
            words = self._words[self._taken : self._taken + len(drained)]
            if len(words) < len(drained):
                raise ValueError(f"{len(self._words):,} words of codes end too early")
            state_N[drained] = state_N[drained] << WORD_BITS | words
            self._taken += len(drained)
            parts.append(index_N)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def require_end(self) -> None:
        """Raise ValueError unless all words are used and every state is back where the writer began."""
        left = len(self._words) - self._taken
        if left or bool((self._states != STATE_LEAST).any()):
            raise ValueError(f"after the last code {left:,} words are left, or a state is not at its beginning")
