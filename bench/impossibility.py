"""The impossibility table: independent random tokens, scored with the true distribution as the network.

No code can beat the entropy there, so any gain of a mixture is unearned. The published hashed mixtures gain known
amounts; exact counts under the same rule can only lose, since there is only noise to learn. Each row is a mixture's
mean loss over 7,752,704 targets, the share of one of eight ranks, after the source and the mean loss of the true
distribution. Setup of the published table: NumPy's default generator, seed 1, 8 tokens of left context, segments of 64,
one rank, entropy fixed at the true one.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread
from pgolf.counts.config import CountConfig
from pgolf.counts.count_stage import iterate_counts
from pgolf.eval.windows import plan_windows
from pgolf.mix.cells import cells_of
from pgolf.mix.config import MixConfig
from pgolf.mix.grid import Grid, Unit

VOCAB = 1024
LEFT = 8
SEGMENT = 64
FULL_TARGETS = 7_752_704

Estimator = Literal["hashed", "exact"]

SOURCES = {
    "uniform": np.full(VOCAB, 1 / VOCAB),
    "zipf": (1 / np.arange(1, VOCAB + 1)) / (1 / np.arange(1, VOCAB + 1)).sum(),
}
SYSTEMS = {
    "pr715": (CountConfig(primes="pr715", orders=(7,)), MixConfig(mixers=("fixed",), alphas=(0.4,))),
    "pr792": (
        CountConfig(primes="pr792", orders=(2, 3, 4, 5)),
        MixConfig(mixers=("adaptive",), orders=(5,), entropy_ranges=(0.35,)),
    ),
    "pr761": (CountConfig(primes="pr761"), MixConfig(mixers=("adaptive",), orders=(7,))),
}


@dataclass(frozen=True, slots=True)
class Published:
    """A published value of the table, in nats."""

    source: str
    system: str
    estimator: Estimator
    loss_nats: float


PUBLISHED = (
    Published("uniform", "pr715", "hashed", 6.0104),
    Published("uniform", "pr792", "hashed", 4.5069),
    Published("uniform", "pr761", "hashed", 4.3328),
    Published("uniform", "pr715", "exact", 6.9315),
    Published("uniform", "pr792", "exact", 7.3134),
    Published("uniform", "pr761", "exact", 7.6391),
    Published("zipf", "pr715", "hashed", 4.5653),
    Published("zipf", "pr792", "hashed", 4.0029),
    Published("zipf", "pr761", "hashed", 3.6324),
    Published("zipf", "pr715", "exact", 5.2059),
    Published("zipf", "pr792", "exact", 5.4243),
    Published("zipf", "pr761", "exact", 5.6255),
)
# Mean loss of the true distribution on the sample, in nats.
PUBLISHED_ENTROPIES = {"uniform": 6.9315, "zipf": 5.2057}


def draw(source: str, targets: int) -> npt.NDArray[np.uint16]:
    """The table's tokens: `targets` of them after 8 tokens of left context."""
    rng = np.random.default_rng(1)
    if source == "uniform":
        return rng.integers(0, VOCAB, targets + LEFT).astype(np.uint16)
    return rng.choice(VOCAB, targets + LEFT, p=SOURCES[source]).astype(np.uint16)


def scored(source: str, system: str, estimator: Estimator, targets: int, **fields: Any) -> tuple[float, float]:
    """(mean loss of the true distribution on the sample, mean loss of the mixture), nats. fields: of the counts."""
    counting, mixing = SYSTEMS[system]
    sizes = {"window": SEGMENT, "stride": SEGMENT, "ranks": 1}
    config = CountConfig.model_validate(counting.of(estimator).model_dump() | sizes | fields)
    tokens = draw(source, targets)
    loss_V = -np.log(SOURCES[source])
    entropy_nats = float((SOURCES[source] * loss_V).sum())
    # The left context is read but neither counted nor scored: a plan over the scored targets, shifted past it.
    plan = plan_windows(targets, window=SEGMENT, stride=SEGMENT)
    moved = replace(plan, score_from=plan.score_from + LEFT - 1, end=plan.end + LEFT - 1)

    def units() -> Iterator[Unit]:
        done = LEFT
        for counted in iterate_counts(config, moved, tokens, vocab_size=VOCAB, threads=2):
            size = counted.context.shape[1]
            loss_nats = loss_V[tokens[done : done + size]].astype(np.float32)
            entropies = np.full(size, entropy_nats, np.float32)
            yield Unit(loss_nats, entropies, {"counts": [*counted.context, *counted.full]})
            done += size

    counts = {"counts": config}
    cells = cells_of(mixing, counts)
    assert len(cells) == 2, "the true distribution and one mixture"
    totals = Grid(cells, counts).run(units())
    sample, mixed = (totals.loss_nats / targets).tolist()
    return sample, mixed


def main(argv: Sequence[str] | None = None) -> int:
    """Compute the table beside the published values; returns 1 if one differs by 1e-3 nats or more."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=1)
    options = parser.parse_args(argv)
    lines, wrong = [], 0
    for row in PUBLISHED:
        sample, mixed = scored(row.source, row.system, row.estimator, FULL_TARGETS)
        wrong += abs(mixed - row.loss_nats) >= 1e-3 or abs(sample - PUBLISHED_ENTROPIES[row.source]) >= 1e-3
        name = (
            f"{row.source} ({sample:.5f}), {row.system} over {row.estimator} counts: {mixed:.5f}, "
            f"published {row.loss_nats:.4f}; difference"
        )
        lines.append(Line(name, "1e-3 nats", Spread.of([1e3 * abs(mixed - row.loss_nats)]), "< 1"))
    title = f"impossibility table, {FULL_TARGETS:,} targets"
    report = Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.impossibility", *argv]), lines)
    show(report, as_json=options.json)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
