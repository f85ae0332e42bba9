"""Facts about a run that every picture shows: recipe, seeds, amount of text, device, dates."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from pgolf.stats.seeds import SeedSummary
from pgolf.tables.ranked import ScorerResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Facts from the score rows of one run. network_bpb: the network alone, over its seeds."""

    run_key: str
    recipe: str
    seeds: tuple[int, ...]
    targets: int | None
    bytes: int | None
    device: str
    dates: str
    over_budget: str
    interrupted: str
    unverified: str
    network_bpb: SeedSummary | None
    nats_per_token_per_bpb: float | None

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.seeds)

    def line(self) -> str:
        """The subtitle line."""
        seeds = f"seed{'s' if self.n > 1 else ''} {', '.join(map(str, self.seeds[:8]))}{', …' if self.n > 8 else ''}"
        text = f"{self.targets:,} targets" if self.targets is not None else "differing targets"
        size = f" ({self.bytes:,} bytes)" if self.bytes is not None else ""
        return " · ".join(part for part in (self.recipe, seeds, text + size, self.device, self.dates) if part)


def facts_of(scores: pa.Table, results: list[ScorerResult]) -> RunFacts:
    """Collect the facts from a run's score rows and their scorers."""
    neural = next((result for result in results if result.scorer[0] == "neural"), None)
    seeds = sorted({seed for result in results for seed in result.by_seed})
    over, interrupted, unverified = (
        sorted({seed for result in results for seed, row in result.by_seed.items() if row[gate] is False})
        for gate in ("fits_budget", "uninterrupted", "bytes_verified")
    )
    targets, text_bytes = _only(scores, "targets"), _only(scores, "bytes")
    ratio = None
    if neural is not None:
        loss, bpb = neural.summary("loss_nats"), neural.summary("bpb")
        if loss is not None and bpb is not None and bpb.mean > 0:
            ratio = loss.mean / bpb.mean
    return RunFacts(
        run_key=str(_only(scores, "run_key")),
        recipe=str(_only(scores, "recipe")),
        seeds=tuple(seeds),
        targets=targets if isinstance(targets, int) else None,
        bytes=text_bytes if isinstance(text_bytes, int) else None,
        device=", ".join(sorted({gpu or "CPU" for gpu in scores.column("gpu").to_pylist()})),
        dates=_dates(scores),
        over_budget=", ".join(map(str, over)),
        interrupted=", ".join(map(str, interrupted)),
        unverified=", ".join(map(str, unverified)),
        network_bpb=None if neural is None else neural.summary("bpb"),
        nats_per_token_per_bpb=ratio,
    )


def _only(scores: pa.Table, name: str) -> str | int | None:
    """The single value of a column; None if rows differ."""
    found: set[str | int | None] = set(scores.column(name).to_pylist())
    return found.pop() if len(found) == 1 else None


def _dates(scores: pa.Table) -> str:
    """When the scores were made, by day."""
    # As integers: datetimes would need a time zone database.
    moments = [moment for moment in scores.column("started_utc").cast(pa.int64()).to_pylist() if moment is not None]
    days = (
        [datetime.fromtimestamp(moment / 1e6, UTC).date().isoformat() for moment in (min(moments), max(moments))]
        if moments
        else []
    )
    return " to ".join(dict.fromkeys(days))
