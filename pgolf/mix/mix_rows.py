"""Turn the sums of a mix into table rows: what each scorer is, its score, and the probability mass it hands out."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.counts.mass import MassSample
from pgolf.eval.bpb import bits_per_byte, nats_to_bits
from pgolf.eval.trace import Trace
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.grid import MIXTURES, Mixed, Totals
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.hedge_pass import HedgeTotals
from pgolf.mix.product import ONE_ORDER, Cell
from pgolf.run_options import Fact

COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("estimator", pa.string()),
    ("counts", pa.string()),
    ("mixer", pa.string()),
    ("order", pa.int64()),
    ("alpha", pa.float64()),
    ("min_count", pa.int64()),
    ("entropy_base", pa.float64()),
    ("entropy_range", pa.float64()),
    ("entropy_slope", pa.float64()),
    ("entropy_threshold_nats", pa.float64()),
    ("concentration", pa.float64()),
    ("tilt_nats", pa.float64()),
    ("tilt_confidence", pa.float64()),
    ("members", pa.int64()),
    ("share_rate", pa.float64()),
    ("granularity", pa.string()),
    ("ranks", pa.int64()),
    ("cell", pa.string()),
    ("normalized", pa.bool_()),
    ("causal", pa.bool_()),
    ("vocab", pa.int64()),
    ("targets", pa.int64()),
    ("bytes", pa.int64()),
    ("matched", pa.int64()),
    ("loss_sum_nats", pa.float64()),
    ("loss_nats", pa.float64()),
    ("bits", pa.float64()),
    ("bpb", pa.float64()),
    ("mass_mean", pa.float64()),
)
MEMBERS_SHOWN = 5

Row = dict[str, Any]


class EntropyAt:
    """Picks out of a passing trace the entropies at sampled records, per count stage."""

    def __init__(self, samples: Mapping[str, MassSample]) -> None:
        self._samples = samples
        self._seen = 0
        self.found = {name: np.empty(len(sample.record), np.float32) for name, sample in samples.items()}

    def add(self, trace: Trace) -> None:
        """Look at the next block of the trace."""
        for name, sample in self._samples.items():
            here = slice(*np.searchsorted(sample.record, (self._seen, self._seen + len(trace))))
            self.found[name][here] = trace.entropy_nats[sample.record[here] - self._seen]
        self._seen += len(trace)


def settings_of(cell: Cell, counts: Mapping[str, CountConfig], hints: HintConfig | None) -> Row:
    """What sets a scorer apart, without nulls: its columns, and what else of the counts or hints it is made from."""
    settings = asdict(cell)
    if cell.counts is not None:
        config = counts[cell.counts]
        settings |= _of_counts(config.model_dump(mode="json", exclude_defaults=True), config.granularity, config.ranks)
        settings |= _shorter(cell, config.orders)
    elif cell.estimator == "hint" and hints is not None:
        settings |= _of_counts(hints.model_dump(mode="json"), hints.granularity, hints.ranks)
        settings |= _shorter(cell, hints.orders)
    if cell.tilt_gamma == 0.0:
        del settings["tilt_gamma"]
    return {name: value for name, value in settings.items() if value is not None}


def _of_counts(config: Mapping[str, Any], granularity: str | int, ranks: int) -> Row:
    """Settings of counts: two that have columns, and those that change what an order's counts are."""
    return {
        "granularity": str(granularity),
        "ranks": ranks,
        **{name: config[name] for name in ("buckets", "primes", "scope", "delay_targets") if name in config},
    }


def _shorter(cell: Cell, orders: Sequence[int]) -> Row:
    """The shorter orders that a mixture falls back on: other ones make another scorer of the same order."""
    assert cell.order is not None
    shorter = [order for order in orders if order < cell.order]
    return {"falls_back_on": shorter} if shorter and cell.mixer not in ONE_ORDER else {}


def mass_mean(
    cell: Cell,
    counts: Mapping[str, CountConfig],
    masses: Mapping[str, MassSample],
    entropy_nats: Mapping[str, npt.NDArray[np.float32]],
) -> float:
    """Mean over the sampled records of the total a cell hands out over the vocabulary; 1 for a distribution."""
    if cell.counts is None or cell.normalized:
        return 1.0
    (kind,) = (kind for kind in MIXTURES if cell.mixer in kind.mixers)
    mass_M = kind.mass(cell, counts[cell.counts].orders, masses[cell.counts], entropy_nats[cell.counts])
    return float(mass_M.mean())


def grid_rows(cells: Sequence[Cell], settings: Sequence[Row], totals: Totals, mass_means: Sequence[float]) -> list[Row]:
    """One row per cell of the grid, in their order: what it is and what it came to."""
    return [
        own
        | {
            "cell": json.dumps(own),
            "normalized": cell.normalized,
            "matched": None if cell.estimator == "neural" else int(totals.matched[number]),
            "loss_sum_nats": float(totals.loss_nats[number]),
            "mass_mean": mass_means[number],
        }
        for number, (cell, own) in enumerate(zip(cells, settings, strict=True))
    ]


def bayes_rows(configs: Sequence[BayesConfig], members: Sequence[Sequence[Row]], mixed: Sequence[Mixed]) -> list[Row]:
    """One row per Bayes or fixed-share mixture, in the order of the configs; members: each one's settings."""
    rows = []
    for config, listed, total in zip(configs, members, mixed, strict=True):
        rows.append(
            _bayes_settings(config, listed)
            | {
                "cell": bayes_name(config, listed),
                "normalized": True,
                "loss_sum_nats": total.loss_nats,
                "mass_mean": 1.0,
            }
        )
    return rows


def bayes_name(config: BayesConfig, members: Sequence[Row]) -> str:
    """The `cell` of a mixture of members with these settings."""
    # Which they are is told by a digest: thousands would not fit, and as many others would pass for the same.
    of_members = hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()[:12]
    return json.dumps(_bayes_settings(config, members) | {"members_sha256": of_members})


def _bayes_settings(config: BayesConfig, members: Sequence[Row]) -> Row:
    settings: Row = {"estimator": "bayes", "mixer": config.mixer, "members": len(members)}
    if config.share_rate:
        settings["share_rate"] = config.share_rate
    return settings | {"granularity": str(config.chunk_targets)}


def bayes_facts(members: Sequence[Sequence[Row]], mixed: Sequence[Mixed]) -> dict[str, Fact]:
    """The members with the largest final weights of every mixture, in words."""
    facts: dict[str, Fact] = {}
    for number, (listed, total) in enumerate(zip(members, mixed, strict=True)):
        largest = np.argsort(-total.shares, kind="stable")[:MEMBERS_SHOWN]
        facts[f"bayes_{number}_shares"] = ", ".join(f"{_named(listed[k])} {total.shares[k]:.3g}" for k in largest)
    return facts


def _named(settings: Row) -> str:
    """A member in a few words: its settings, but for those of its counts."""
    if settings["estimator"] == "neural":
        return "network"
    left_out = ("counts", "granularity", "ranks", "falls_back_on", "buckets", "primes", "scope", "delay_targets")
    return " ".join(str(value) if name in ("estimator", "mixer") else f"{name} {value:g}"
                    for name, value in settings.items() if name not in left_out)  # fmt: skip


def hedge_rows(configs: Sequence[HedgeConfig], totals: Sequence[HedgeTotals], *, targets: int) -> list[Row]:
    """One row per Hedge mixture, in the order of the configs."""
    rows = []
    for config, total in zip(configs, totals, strict=True):
        rows.append(
            _hedge_settings(config)
            | {
                "cell": hedge_name(config),
                "normalized": config.normalized,
                "matched": total.mixed,
                "loss_sum_nats": total.loss_nats,
                "mass_mean": total.mass / targets,
            }
        )
    return rows


def hedge_name(config: HedgeConfig) -> str:
    """The `cell` of a Hedge mixture."""
    # Whatever else sets it apart from the default: without it two cells could be one row of the tables.
    others = config.model_dump(exclude_defaults=True, exclude={"experts", "chunk_tokens"})
    return json.dumps(_hedge_settings(config) | others)


def _hedge_settings(config: HedgeConfig) -> Row:
    return {
        "estimator": "hedge",
        "mixer": f"hedge-{config.experts}",
        "order": 3,
        "granularity": str(config.chunk_tokens),
    }


def hedge_facts(totals: Sequence[HedgeTotals]) -> dict[str, Fact]:
    """The final weights in words: network 0.981, unigram 0.002, …"""
    return {
        f"hedge_{number}_shares": ", ".join(f"{name} {share:.3g}" for name, share in total.shares.items())
        for number, total in enumerate(totals)
    }


def scored(row: Row, *, targets: int, total_bytes: int, vocab: int, causal: bool) -> Row:
    """A row with every column: its score per target and per byte, and what it shares with all others."""
    loss_nats = row["loss_sum_nats"]
    return {
        **{name: row.get(name) for name, _ in COLUMNS},
        # As the trace is: a mixture adds counts of what was scored before, and a gate and weights that never see the
        # target.
        "causal": causal,
        "vocab": vocab,
        "targets": targets,
        "bytes": total_bytes,
        "loss_nats": loss_nats / targets,
        "bits": nats_to_bits(loss_nats),
        "bpb": bits_per_byte(loss_nats, total_bytes),
    }


def best_facts(rows: Sequence[Row]) -> dict[str, Fact]:
    """The network's score, and the lowest honest and the lowest legacy score of the grid with their cells."""
    facts: dict[str, Fact] = {"neural_bpb": rows[0]["bpb"]}
    for label, normalized in (("honest", True), ("legacy", False)):
        group = [row for row in rows if row["normalized"] is normalized]
        if group:
            best = min(group, key=lambda row: float(row["bpb"] if row["bpb"] is not None else math.inf))
            facts |= {f"best_{label}_bpb": best["bpb"], f"best_{label}_cell": best["cell"]}
    return facts
