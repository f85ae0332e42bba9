"""Searches for the finest plan whose size fits a limit, by secants and halving.

Coarseness is counted in doublings of a plan's steps, each of which saves about one bit per weight.
"""

from typing import NamedTuple

from pgolf.pack.trials import Trial

# Ends on both sides of the limit that lie so few doublings apart, 0.14 % of a step, are as near as the search takes
# them: between them sizes jump.
NARROW = 2e-3

# A secant goes at most this near to an end.
_SECANT_MARGIN = 0.05


class Tried(NamedTuple):
    """A coarseness and the packing it led to."""

    at: float
    trial: Trial

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return len(self.trial.file_bytes)


class Bracket:
    """`at`, the coarseness to try next, between the finest tried that fits and the coarsest that does not.

    Invariant, whatever the sizes: fits.size_bytes <= limit_bytes < over.size_bytes, and low <= over.at < at < fits.at
    <= high, as far as `over` and `fits` were found. Every packing moves one of them to `at`, so the bracket only
    shrinks. Where sizes fall with coarseness, nothing finer than `over` fits.

    has_ended: a packing left at most `unused_bytes` of the limit, there is a `jump`, or there is nowhere left to go.
    bytes_per_doubling: what sizes are expected to fall by until two of them are known.
    """

    def __init__(
        self,
        low: float,
        high: float,
        *,
        start: float,
        limit_bytes: int,
        unused_bytes: float,
        bytes_per_doubling: float,
    ) -> None:
        self.at = start
        self.fits: Tried | None = None
        self.over: Tried | None = None
        self.has_ended = False
        self._low, self._high = low, high
        self._limit_bytes = limit_bytes
        self._unused_bytes = unused_bytes
        self._goal_bytes = limit_bytes - unused_bytes / 2
        self._bytes_per_doubling = bytes_per_doubling
        self._before: Tried | None = None

    @property
    def jump(self) -> tuple[Tried, Tried] | None:
        """`over` and `fits` once they are so near that the limit lies in a jump of sizes between them."""
        if self.over is None or self.fits is None or self.fits.at - self.over.at >= NARROW:
            return None
        return self.over, self.fits

    def add(self, trial: Trial) -> None:
        """Take in the packing at `at`, and move on unless the search has ended."""
        here = Tried(self.at, trial)
        room_bytes = self._limit_bytes - here.size_bytes
        if room_bytes >= 0:
            self.fits, end = here, self._low
        else:
            self.over, end = here, self._high
        self.has_ended = self.at == end or 0 <= room_bytes <= self._unused_bytes or self.jump is not None
        if not self.has_ended:
            self.at = self._after(here)
            self._before = here

    def _after(self, here: Tried) -> float:
        before, over, fits = self._before, self.over, self.fits
        if over and fits:
            # Sizes fall in steps, so the secant may creep along one side; halving in turn bounds that.
            crossed = before is not None and (before.size_bytes > self._goal_bytes) != (
                here.size_bytes > self._goal_bytes
            )
            share = (over.size_bytes - self._goal_bytes) / (over.size_bytes - fits.size_bytes) if crossed else 0.5
            return over.at + min(max(share, _SECANT_MARGIN), 1 - _SECANT_MARGIN) * (fits.at - over.at)
        slope = self._bytes_per_doubling
        if before is not None:
            # Two sizes near one another say little about the slope.
            slope = max((before.size_bytes - here.size_bytes) / (here.at - before.at), slope / 4)
        return min(max(here.at + (here.size_bytes - self._goal_bytes) / slope, self._low), self._high)
