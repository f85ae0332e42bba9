"""Kinds of targets, told from the text and the losses alone: scorers that break a rule break it at some of them only.

Shapes: N targets.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses

_LONGEST_CONTEXT = 4
_EDGES = (16, 64, 256, 1024)

# Kinds that the losses tell.
OF_LOSSES = ("low loss", "high loss")

Mask = npt.NDArray[np.bool_]


def strata(text: AuditText, losses: Losses, chunk_targets: int | None = None) -> Mapping[str, Mask]:
    """Which targets belong to which kind, [N] each; a target may be of several. losses: of the text, [N]."""
    N = text.targets
    number_N = np.arange(1, N + 1)
    found: dict[str, Mask] = {}
    if text.bos_id is not None:
        found["first of a document"] = text.tokens[:-1] == text.bos_id
        found["start of a document"] = text.tokens[1:] == text.bos_id
    for length in (1, 2, _LONGEST_CONTEXT):
        repeated, followed = _repeats(text, length)
        found[f"as after the same {length} before"] = repeated & followed
        found[f"other than after the same {length} before"] = repeated & ~followed
    found["new context"] = ~_repeats(text, 1)[0]
    edges = [chunk_targets] if chunk_targets else [edge for edge in _EDGES if edge < N]
    for edge in edges:
        found[f"first of {edge}"] = number_N % edge == 1
        found[f"last of {edge}"] = number_N % edge == 0
    found["last of all"] = number_N == N
    low, high = np.quantile(losses, [0.05, 0.95])
    found |= dict(zip(OF_LOSSES, (losses <= low, losses >= high)))
    counts = np.bincount(text.tokens, minlength=text.vocab_size)
    found["rare token"] = counts[text.tokens[1:]] <= max(1, int(np.quantile(counts[text.tokens], 0.05)))
    found["any"] = np.ones(N, dtype=bool)
    return {name: mask for name, mask in found.items() if mask.any()}


def _repeats(text: AuditText, length: int) -> tuple[Mask, Mask]:
    """Whether the tokens before a target have stood there before, and whether this target last followed them."""
    seen: dict[tuple[int, ...], int] = {}
    tokens = text.tokens.tolist()
    repeated, followed = np.zeros(text.targets, dtype=bool), np.zeros(text.targets, dtype=bool)
    for target in range(length, text.targets + 1):
        context = tuple(tokens[target - length : target])
        if (last := seen.get(context)) is not None:
            repeated[target - 1], followed[target - 1] = True, last == tokens[target]
        seen[context] = tokens[target]
    return repeated, followed


def spread_over(strata_N: Mapping[str, Mask], count: int, rng: np.random.Generator) -> list[tuple[int, str]]:
    """At most `count` different targets, 1..N, with the kind each was drawn for: one of each kind in turn.

    Those whose kind is rarest come first, so that a few still cover what a scorer does seldom.
    """
    waiting = {
        name: list(rng.permutation(np.flatnonzero(mask)))
        for name, mask in sorted(strata_N.items(), key=lambda item: int(item[1].sum()))
    }
    chosen: dict[int, str] = {}
    while len(chosen) < count and waiting:
        for name in list(waiting):
            while waiting[name] and int(waiting[name][-1]) + 1 in chosen:
                waiting[name].pop()
            if not waiting[name]:
                del waiting[name]
            elif len(chosen) < count:
                chosen[int(waiting[name].pop()) + 1] = name
    return list(chosen.items())
