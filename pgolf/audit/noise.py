"""How far two identical runs of a scorer are apart, and what an answer in floating point can be wrong by.

Both are measured on the scorer itself. A check accuses of a difference only where it is larger than either explains.
Shapes: R runs, N targets, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pgolf.audit.scorer import Losses

# Largest difference between runs over N targets: for noise with Gaussian tails the largest of N further differences
# exceeds it threefold with a chance of about N^-8, with Laplace tails N^-2.
TIMES_THE_LARGEST = 3.0

# Above this a pass says little: a leak could hide below it. The smallest gain that the challenge ranks is of this size.
TELLING_NATS = 0.005

# Bits of the significand, the leading one included, and what the logarithm of a sum over a vocabulary in that format
# is off by (rules, check B3: 1e-6 in float64, 1e-5 behind a softmax in float32).
_FORMATS = (("bfloat16", 8, 1e-5), ("float16", 11, 1e-5), ("float32", 24, 1e-5), ("float64", 53, 1e-6))


@dataclass(frozen=True, slots=True)
class Noise:
    """largest_nats: the largest difference at one target between identical runs; 0 where they agree to the bit."""

    largest_nats: float
    runs: int

    @property
    def tolerance_nats(self) -> float:
        """What a difference at one target must exceed to be called one."""
        return TIMES_THE_LARGEST * self.largest_nats

    def __str__(self) -> str:
        if self.largest_nats == 0:
            return f"{self.runs} identical runs agree to the bit"
        return f"{self.runs} identical runs differ by up to {self.largest_nats:.3g} nats at a target"


def noise_of(runs: Sequence[Losses]) -> Noise:
    """Of identical runs, [R][N]."""
    stacked = np.stack(runs)
    return Noise(float((stacked.max(axis=0) - stacked.min(axis=0)).max(initial=0.0)), len(runs))


@dataclass(frozen=True, slots=True)
class Precision:
    """The coarsest floating-point format that holds every loss, its bits, and the error of a total of 1 in it."""

    name: str
    bits: int
    of_total: float

    def mass_tolerance(self, losses_V: Losses, noise: Noise) -> float:
        """How far from 1 the total of exp(-loss) over the vocabulary may be for a distribution.

        Each loss is off by half a unit in its last place, and by the noise between runs.
        """
        off_V = np.abs(losses_V) * 2.0**-self.bits
        return self.of_total + float(np.exp(-losses_V) @ np.expm1(off_V + noise.tolerance_nats))


def precision_of(losses: Losses) -> Precision:
    """Of a scorer's answers, from their bits alone."""
    values = losses[losses != 0]
    significand = np.frexp(values)[0]
    for name, bits, of_total in _FORMATS:
        scaled = significand * 2.0**bits
        if np.array_equal(scaled, np.rint(scaled)):
            return Precision(name, bits, of_total)
    raise AssertionError("every double fits float64")
