"""How much a trial asks of a scorer: counts that decide what is found, and how likely."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """cuts: places before which nothing may change when everything after is replaced. enumerated: targets at which
    every token of the vocabulary is scored. screened: targets at which a few likely tokens are, `candidates` of them.
    coded: targets that are coded and decoded again. runs: identical ones that the noise is taken from. starts: of a
    program that has to be started anew for each token that is tried, how often it is for B3 or B4.
    """

    cuts: int = 192
    enumerated: int = 12
    screened: int = 48
    candidates: int = 6
    coded: int = 24
    runs: int = 3
    starts: int = 96


DEFAULT = Effort()
THOROUGH = Effort(cuts=4096, enumerated=128, screened=1024, candidates=12, coded=128, runs=6, starts=4096)
