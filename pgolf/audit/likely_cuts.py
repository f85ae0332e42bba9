"""Places behind which a scorer that looks ahead is most likely to look.

One that looks one token ahead at the end of each of its batches shows it only where a cut falls just there. So cuts go
everywhere, those first where an end is likely: before the last target, around the starts of documents, at multiples of
the sizes that people choose.
"""

import numpy as np

from pgolf.audit.trial import Trial

_SIZES = (1024, 512, 256, 128, 64, 32, 16, 8, 100, 50, 10, 48, 24, 12)


def likely_cuts(trial: Trial) -> list[int]:
    """Every cut, 1..N-1 targets scored before it, the likeliest ends of something first."""
    text = trial.text
    N = text.targets
    sizes = [trial.subject.declared.chunk_targets] if trial.subject.declared.chunk_targets else []
    first = [N - 1, 1]
    if text.bos_id is not None:
        starts = np.flatnonzero(text.tokens == text.bos_id)
        first += [int(start) + off for start in starts for off in (-1, 0, 1)]
    first += [multiple for size in [*sizes, *_SIZES] for multiple in range(size, N, size) if size * 16 > N]
    rest = trial.rng("cuts").permutation(np.arange(1, N)).tolist()
    return [cut for cut in dict.fromkeys([*first, *rest]) if 0 < cut < N]
