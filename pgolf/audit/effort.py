"""How much a trial asks of a scorer: counts that decide what is found, and how likely."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """wide_cuts: places behind which everything is replaced in every way there is. cuts: places behind which it is in
    one way. tries: tokens that are scored as a target, every one of the vocabulary at each of as many targets as that
    makes, but at 4 at least. repeating: further targets at which every one is, in texts that repeat themselves.
    screened: targets at which a few likely tokens are, `candidates` of them. moved: targets that are changed one by
    one. documents: those whose others are replaced. coded: targets that are coded and decoded again. runs: identical
    ones that the noise is taken from, or noisy_runs where these differ. fresh: questions put to copies of the scorer
    that have heard no other. starts: of a program that has to be started anew for each token that is tried, how often
    it is for B3 or B4. drawn: texts in which tokens are drawn by lot, asked of a copy that has heard no other.
    """

    wide_cuts: int = 6
    cuts: int = 512
    tries: int = 12 * 1024
    repeating: int = 8
    screened: int = 128
    candidates: int = 6
    moved: int = 8
    documents: int = 12
    coded: int = 24
    runs: int = 3
    noisy_runs: int = 32
    fresh: int = 12
    starts: int = 96
    drawn: int = 4

    def enumerated(self, vocab_size: int) -> int:
        """Targets at which every token of the vocabulary is scored."""
        return max(4, self.tries // vocab_size)


# For a trial that every run makes by itself: every check answers, and finds what shows at most places.
QUICK = Effort(
    wide_cuts=2,
    cuts=12,
    tries=8 * 1024,
    repeating=4,
    screened=16,
    candidates=2,
    moved=2,
    documents=2,
    coded=4,
    runs=2,
    noisy_runs=16,
    fresh=2,
    starts=8,
    drawn=2,
)
DEFAULT = Effort()
THOROUGH = Effort(
    cuts=4096,
    tries=128 * 1024,
    repeating=64,
    screened=1024,
    candidates=12,
    coded=128,
    runs=6,
    fresh=64,
    starts=4096,
    drawn=32,
)
EFFORTS = {"quick": QUICK, "default": DEFAULT, "thorough": THOROUGH}
