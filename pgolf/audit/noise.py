"""How far two identical runs of a scorer are apart, and what an answer in floating point can be wrong by.

Both are measured on the scorer itself. A check accuses of a difference only where it is larger than either explains.
Shapes: R runs, N targets, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pgolf.audit.scorer import Losses

# Largest difference among 32 runs, or 3 where these agree to the bit. Noise that all targets of a run share shows in
# 32 draws alone: their range is 4 deviations, 3 with a chance of 10^-3, and a further difference exceeds twice the
# range with one of 10^-8. Where noise is drawn for each of N targets anew, the largest of 32 N is exceeded twofold less
# often still.
TIMES_THE_LARGEST = 2.0

# Above this a pass says little: a leak could hide below it. The smallest gain that the challenge ranks is of this size.
TELLING_NATS = 0.005

# What the total of a softmax may be off by (rules, check B3): in float32, and where everything is computed in float64.
# The digits of a loss do not tell the two apart, the other totals of the same scorer do.
OF_TOTAL, OF_TOTAL_IN_FLOAT64 = 1e-5, 1e-6

# Bits of the significand, the leading one included.
_FORMATS = (("bfloat16", 8), ("float16", 11), ("float32", 24), ("float64", 53))
_DECIMALS = range(2, 9)

# A sum of so many products in float32, taken in another order, moves by at most a rounding each: another text may be
# divided into other tiles. So much of a loss, 6e-5 of it, is no leak that anyone gains by.
_SUMMED = 1024
_REORDERED = _SUMMED * 2.0**-24


def difference(one: Losses, other: Losses) -> Losses:
    """How far two answers are apart, [N]; 0 where both say that a token is impossible."""
    same = one == other
    return np.asarray(np.abs(np.where(same, 0.0, one) - np.where(same, 0.0, other)))


@dataclass(frozen=True, slots=True)
class Noise:
    """largest_nats: the largest difference at one target between identical runs; 0 where they agree to the bit.

    deviation_nats: the standard deviation of a run at one target, over all targets.
    """

    largest_nats: float
    deviation_nats: float
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
    largest = float((stacked.max(axis=0) - stacked.min(axis=0)).max(initial=0.0))
    deviation = math.sqrt(float(stacked.var(axis=0, ddof=1).mean())) if len(runs) > 1 else 0.0
    return Noise(largest, deviation, len(runs))


@dataclass(frozen=True, slots=True)
class Precision:
    """The coarsest form that holds every answer. relative, absolute: the error of a loss, in parts of it, in nats."""

    name: str
    relative: float
    absolute: float

    @property
    def is_finest(self) -> bool:
        """Whether nothing is known to have been rounded before the last step."""
        return self.name == _FORMATS[-1][0]

    def rounding_nats(self, losses: Losses) -> Losses:
        """How far a loss may be off because it is written in this form, [N]."""
        return np.asarray(self.absolute + self.relative * _finite(losses))

    def mass_tolerance(self, losses_V: Losses, noise: Noise) -> float:
        """How far from 1 the total of exp(-loss) over the vocabulary may be for a distribution.

        Each loss is off by half a unit in its last place, and by the noise between runs.
        """
        off_V = self.rounding_nats(losses_V) + noise.tolerance_nats
        return OF_TOTAL + float(np.exp(-losses_V) @ np.expm1(off_V))


def precision_of(losses: Losses) -> Precision:
    """Of a scorer's answers, from their digits alone: losses in a binary format or in decimals, or probabilities."""
    values = losses[np.isfinite(losses) & (losses != 0)]
    *coarse, (finest, finest_bits) = _FORMATS
    for name, bits in coarse:
        if _fits(values, bits, 0.0):
            return Precision(name, 2.0**-bits, 0.0)
    for decimals in _DECIMALS:
        if np.array_equal(np.round(values, decimals), values):
            return Precision(f"{decimals} decimals", 0.0, 0.5 * 10.0**-decimals)
    for name, bits in coarse:
        # exp and ln are off by a unit or two in float64's last place, which is 2^-28 of one in float32's.
        if _fits(np.exp(-values), bits, 1e-14):
            return Precision(f"float64, of probabilities in {name}", 0.0, 2.0**-bits)
    return Precision(finest, 2.0**-finest_bits, 0.0)


def reordered_nats(losses: Losses) -> Losses:
    """How far a loss may move when the sums behind it are taken in another order, [N]."""
    return np.asarray(_REORDERED * np.maximum(1.0, _finite(losses)))


def _finite(losses: Losses) -> Losses:
    return np.where(np.isfinite(losses), losses, 0.0)


def _fits(values: Losses, bits: int, relative: float) -> bool:
    """Whether every value has so many bits, but for a relative error."""
    scaled = np.frexp(values)[0] * 2.0**bits
    return bool(np.all(np.abs(scaled - np.rint(scaled)) <= relative * 2.0**bits))
