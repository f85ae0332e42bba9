"""Summary over seeds: mean, sample standard deviation and n, always together."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pgolf.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSummary:
    """Mean and sample standard deviation (n - 1 below the sum) of one value per seed; std is None for a single seed."""

    n: int
    mean: float
    std: float | None


def summarize(values: Iterable[float]) -> SeedSummary:
    """Mean, sample standard deviation and count of one finite value per seed.

    Raises DataError if there are no values, or if one is NaN or infinite.
    """
    samples = [float(value) for value in values]
    if not samples:
        raise DataError("no seeds: a mean needs at least 1 value; run the recipe for one seed first")
    for position, sample in enumerate(samples):
        if not math.isfinite(sample):
            raise DataError(f"value {position + 1} of {len(samples)} is {sample}; omit a missing seed instead")
    n = len(samples)
    mean = math.fsum(samples) / n
    if n == 1:
        return SeedSummary(n=1, mean=mean, std=None)
    if min(samples) == max(samples):
        # The mean of equal values may round to a neighbouring float, and a t test would divide by that error.
        return SeedSummary(n=n, mean=samples[0], std=0.0)
    # fsum over deviations, not a difference of sums of squares: seeds differ in the fourth digit of the loss, and the
    # difference of squares would lose twice as many digits.
    variance = math.fsum((sample - mean) ** 2 for sample in samples) / (n - 1)
    return SeedSummary(n=n, mean=mean, std=math.sqrt(variance))
