"""What the published runs on 8 H100 took, from their logs; means over their seeds. Imports no torch."""

from dataclasses import dataclass

GPUS = 8
TRAINING_LIMIT_S = EVALUATION_LIMIT_S = 600.0
VAL_TARGETS = 62_021_632


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """steps: within 600 s. step_ms: of one. memory_gib: peak of a GPU. evaluation_s: of the score that was reported,
    with its n-gram tables, learning included.
    """

    steps: int
    step_ms: float
    memory_gib: float
    evaluation_s: float


# Seeds 1337, 42, 7 (#745: 1337, 42, 2025).
PUBLISHED = {
    "pr715": PublishedRun(steps=5_585, step_ms=107.4, memory_gib=21.9, evaluation_s=103.0),
    "pr745": PublishedRun(steps=4_459, step_ms=134.6, memory_gib=32.0, evaluation_s=507.9),
    "pr792": PublishedRun(steps=5_242, step_ms=114.5, memory_gib=27.2, evaluation_s=354.2),
}
