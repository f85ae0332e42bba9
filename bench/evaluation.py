"""Scores of each mixture on real text, honest beside legacy, over a bigram baseline and a small network.

Text: the first 400,000 tokens of the challenge's validation stream (FineWeb, sp1024), in a folder given by --data or
PGOLF_TEST_DATA. Bases: a bigram model counted on 90 M FineWeb training tokens, given as a trace like any network's;
with --network also a network trained here on other English text. Everything after the base runs through pgolf's own
stages, cached in --store, so that a second run only reads. --write puts the tables into docs/evaluation.md.

Shapes: V vocabulary, T targets.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from os import sched_getaffinity
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import zstandard

from pgolf.corpus.shards import read_shard, stream_digest
from pgolf.counts.config import CountConfig, Orders, Primes
from pgolf.counts.hint_config import HintConfig
from pgolf.eval.config import ScoreConfig
from pgolf.eval.hints import HINTS_FILE, read_hints
from pgolf.eval.trace import Trace, write_trace
from pgolf.eval.windows import plan_windows
from pgolf.machine.hardware import cpu_name
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.config import MixConfig
from pgolf.mix.product import Product
from pgolf.pack.config import CompressConfig
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import External, Link, Node
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.recipe import COMPRESS, COUNT, HINT, MIX, SCORE, TRAIN
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Store
from pgolf.store.content import Memo
from pgolf.train.config import TrainStageConfig

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "evaluation.md"
BEGIN, END = "<!-- evaluation:begin (python -m bench.evaluation --network --write) -->", "<!-- evaluation:end -->"
TOKENIZER = "fineweb_1024_bpe.model"
VOCAB = 1024

# 399,999 targets are 3·151·883: windows of 3·151 cover them all. Segments of 64 targets, one history, as in one
# published rank.
WINDOW, STRIDE = 453, 151
LAYOUT = {"window": WINDOW, "stride": STRIDE, "granularity": 64, "ranks": 1}
# As in #511, except that the delay is this window.
HINTS = HintConfig(window=WINDOW, stride=STRIDE, delay_targets=WINDOW)
PUBLISHED_BUCKETS = 1 << 22
# Targets per bucket at the end of one published rank: 7,752,704 over 2^22.
PUBLISHED_LOAD = 7_752_704 / PUBLISHED_BUCKETS
BUCKETS = (PUBLISHED_BUCKETS, 1 << 18, 1 << 17)
BIGRAM_WEIGHT = 5.0  # weight of the unigram distribution, in counts

Cell = dict[str, float | int | str | bool | None]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rule:
    """One mixture. primes: keys of the published tables; None for a rule that needs exact counts.

    estimator: the source of its honest cell, as named in the result tables.
    """

    name: str
    orders: Orders
    mix: MixConfig
    primes: Primes | None = None
    estimator: str = "exact"


def fixed(order: int, alpha: float) -> MixConfig:
    """One order with a constant weight."""
    return MixConfig(mixers=("fixed",), orders=(order,), alphas=(alpha,))


def backoff(order: int, alpha: float) -> MixConfig:
    """Backoff from this order to the longest one seen, with a constant weight."""
    return MixConfig(mixers=("backoff",), orders=(order,), alphas=(alpha,))


def adaptive(order: int, span: float) -> MixConfig:
    """Backoff with the published weight 0.05 + span·σ(2(H - 4))."""
    return MixConfig(mixers=("adaptive",), orders=(order,), entropy_ranges=(span,))


def dirichlet(order: int, concentration: float) -> MixConfig:
    """Dirichlet interpolation of all orders from this one down, with this concentration."""
    return MixConfig(mixers=("dirichlet",), orders=(order,), concentrations=(concentration,))


def tilt() -> MixConfig:
    """The published tilt by 2.625 for hints that were right in 8 of 10 cases so far (#1514)."""
    return MixConfig(mixers=("tilt",))


def bayes(share_rate: float) -> MixConfig:
    """A Bayes mixture of all rules below with several values each, weighted by past losses; nothing is tuned."""
    grid = Product(
        mixers=("fixed", "backoff", "adaptive", "dirichlet", "tilt"), alphas=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
        concentrations=(1, 4, 16, 64, 256), tilts=(1.0, 2.0, 2.625),
    )  # fmt: skip
    return MixConfig(mixers=(), bayes=(BayesConfig(members=(grid,), share_rate=share_rate),))


SIX = (2, 3, 4, 5, 6, 7)
# One line is one row of the tables. primes None: a mixture that only exact counts allow.
RULES = (
    Rule("#715: order 7, alpha 0.4", (7,), fixed(7, 0.4), "pr715"),
    Rule("#792: orders 2 to 5, adaptive", (2, 3, 4, 5), adaptive(5, 0.35), "pr792"),
    Rule("#761: orders 2 to 7, adaptive", SIX, adaptive(7, 0.55), "pr761"),
    Rule("order 2, alpha 0.1", SIX, fixed(2, 0.1), "pr761"),
    Rule("order 3, alpha 0.1", SIX, fixed(3, 0.1), "pr761"),
    Rule("orders 2 to 7, backoff, alpha 0.1", SIX, backoff(7, 0.1), "pr761"),
    Rule("orders 2 to 7, backoff, alpha 0.4", SIX, backoff(7, 0.4), "pr761"),
    Rule("orders 2 to 7, Dirichlet, k = 4", SIX, dirichlet(7, 4.0)),
    Rule("orders 2 to 7, Dirichlet, k = 64", SIX, dirichlet(7, 64.0)),
    Rule("hints of orders 7 to 17, tilt 2.625", SIX, tilt(), estimator="hint"),
    Rule("Bayes over the base and 120 such mixtures", SIX, bayes(0.0), estimator="bayes"),
    Rule("fixed share over the same, rate 1e-4", SIX, bayes(1e-4), estimator="bayes"),
)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a rule over a base: its honest cell, and its legacy cell per number of buckets."""

    rule: Rule
    honest: Cell
    hashed: dict[int, Cell]


@dataclass(frozen=True, slots=True)
class Base:
    """A base distribution to mix with: its name, its own cell, and every rule over it."""

    name: str
    neural: Cell
    rules: list[Scores]


# --- the data


def write_data(shared: Path, out: Path, *, corpus_shards: int = 0) -> Path:
    """Make a data folder of the validation prefix plus this many training shards of the other corpus."""
    tokens = out / "datasets" / "fineweb10B_sp1024"
    tokens.mkdir(parents=True)
    (out / "tokenizers").mkdir()
    copies = {
        shared / "tokenizers" / TOKENIZER: out / "tokenizers" / TOKENIZER,
        shared / "fineweb" / "fineweb_val_prefix_sp1024.bin": tokens / "fineweb_val_000000.bin",
    }
    for source, target in copies.items():
        target.write_bytes(source.read_bytes())
    for number in range(corpus_shards):
        packed = shared / "gpu_corpus" / f"corpus_train_{number:06d}.bin.zst"
        with packed.open("rb") as source, (tokens / f"fineweb_train_{number:06d}.bin").open("wb") as target:
            zstandard.ZstdDecompressor(max_window_size=1 << 31).copy_stream(source, target)
    stats = {"files_train": corpus_shards, "files_val": 1}
    tokenizer = {"name": "sp1024", "vocab_size": VOCAB, "bos_id": 1, "model_path": f"tokenizers/{TOKENIZER}"}
    dataset = {
        "name": "fineweb10B_sp1024",
        "tokenizer_name": "sp1024",
        "path": "datasets/fineweb10B_sp1024",
        "vocab_size": VOCAB,
        "bos_id": 1,
        "stats": stats,
    }
    manifest = {"version": "10B", "tokenizers": [tokenizer], "datasets": [dataset]}
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def bigram_distributions(shared: Path) -> Float64Array:
    """p(y | x) of the bigram baseline, [V, V]; every row sums to 1."""
    with np.load(shared / "fineweb" / "fineweb_sp1024_ngram_counts.npz") as counts:
        unigram_V = counts["unigram"].astype(np.float64)
        bigram_VV = counts["bigram"].astype(np.float64)
    u_V = (unigram_V + 0.5) / (unigram_V.sum() + 0.5 * VOCAB)
    p_VV: Float64Array = (bigram_VV + BIGRAM_WEIGHT * u_V) / (bigram_VV.sum(axis=1, keepdims=True) + BIGRAM_WEIGHT)
    return p_VV


def write_bigram_trace(shared: Path, data: Path, hints: Path, out: Path) -> Path:
    """Write a trace of the bigram baseline, in its own folder: loss, entropy and ln p of every hint per target."""
    out.mkdir(parents=True)
    tokens = read_shard(data / "datasets" / "fineweb10B_sp1024" / "fineweb_val_000000.bin", vocab_size=VOCAB)
    loss_VV = -np.log(bigram_distributions(shared))
    entropy_V = (np.exp(-loss_VV) * loss_VV).sum(axis=1)
    plan = plan_windows(len(tokens) - 1, window=WINDOW, stride=STRIDE)
    target_T = plan.record_targets()
    x_T, y_T = tokens[target_T - 1], tokens[target_T]
    stream = stream_digest(tokens)
    found = read_hints(hints / HINTS_FILE, records=len(target_T), vocab_size=VOCAB, stream=stream)
    hint_logp = {
        order: np.where(hint_T >= 0, -loss_VV[x_T, hint_T], 0.0).astype(np.float32)
        for order, hint_T in zip(found.orders, found.tokens.T, strict=True)
    }
    trace = Trace(target_T, loss_VV[x_T, y_T].astype(np.float32), entropy_V[x_T].astype(np.float32), hint_logp)
    write_trace(out / "trace.arrow", [trace], plan=plan, stream=stream, hint_orders=found.orders)
    return out


# --- the stages


def network_nodes(data: Path) -> Iterator[Node]:
    """A network of the demo's size at vocabulary 1,024: trained on the other corpus, packed to int6, scored."""
    demo = recipe_named("demo")
    model = demo.model.model_copy(update={"vocab_size": VOCAB})
    train = demo.train.model_copy(update={"steps": 1000, "warmdown_steps": 500, "muon_momentum_warmup_steps": 200})
    yield Node(
        name="train", stage=TRAIN, config=TrainStageConfig(model=model, train=train), seed=1337,
        inputs={"data": External(data, "data")}, values={"seed": 1337},
    )  # fmt: skip
    yield Node(
        name="compress", stage=COMPRESS, config=CompressConfig(fp16_max_elements=4096), seed=1337,
        inputs={"checkpoint": Link("train", ("checkpoint",))}, values={"code_bytes": 0},
    )  # fmt: skip
    yield Node(
        name="score", stage=SCORE, config=ScoreConfig(window=WINDOW, stride=STRIDE), seed=1337,
        inputs={
            "model": Link("compress", ("weights",)), "data": External(data, "data"), "hints": Link("hint", ("hints",)),
        },
    )  # fmt: skip


def rule_nodes(
    rules: Sequence[Rule], buckets: Sequence[int], data: Path, traces: dict[str, External | Link]
) -> list[Node]:
    """Every count stage needed by the rules, once, and a mix stage per base and rule."""
    nodes: dict[str, Node] = {}
    for rule in rules:
        counts: dict[str, External | Link] = {}
        for name, config in count_configs(rule, buckets).items():
            nodes.setdefault(name, Node(name=name, stage=COUNT, config=config, inputs={"data": External(data, "data")}))
            counts[f"counts.{name}"] = Link(name, ("counts",))
        for base, trace in traces.items():
            name = mix_name(base, rule)
            nodes[name] = Node(
                name=name, stage=MIX, config=rule.mix,
                inputs={"trace": trace, "data": External(data, "data"), "hints": Link("hint", ("hints",)), **counts},
            )  # fmt: skip
    return list(nodes.values())


def count_configs(rule: Rule, buckets: Sequence[int]) -> dict[str, CountConfig]:
    """The count configs of a rule, by descriptive node name."""
    orders = f"{rule.orders[0]}-{rule.orders[-1]}"
    configs = {f"exact-{orders}": CountConfig(estimator="exact", orders=rule.orders, **LAYOUT)}
    if rule.primes is not None:
        for size in buckets:
            config = CountConfig(orders=rule.orders, primes=rule.primes, buckets=size, **LAYOUT)
            configs[f"{rule.primes}-{orders}-{size}"] = config
    return configs


def mix_name(base: str, rule: Rule) -> str:
    """Node name of the mix stage of a rule over a base."""
    return f"mix[{base}][{rule.name}]"


def scores_of(rule: Rule, mixed: Artifact) -> tuple[Cell, Scores]:
    """Read the base's cell and the rule's cells from a mix stage's output."""
    cells = pq.read_table(mixed.path / "cells.parquet").to_pylist()
    (neural,) = (cell for cell in cells if cell["estimator"] == "neural")
    # If a rule has a cell per order, take the longest order's.
    own = max((cell for cell in cells if cell["estimator"] == rule.estimator), key=lambda cell: cell["order"] or 0)
    hashed = {int(cell["counts"].rsplit("-", 1)[1]): cell for cell in cells if cell["estimator"] == "hashed"}
    return neural, Scores(rule, own, hashed)


def measure(
    shared: Path, store: Path, *, rules: Sequence[Rule] = RULES, buckets: Sequence[int] = BUCKETS, network: bool = False
) -> list[Base]:
    """Score every rule over every base."""
    with tempfile.TemporaryDirectory(prefix="pgolf-evaluation-") as name:
        folder = Path(name)
        data = write_data(shared, folder / "data", corpus_shards=1 if network else 0)
        hint = Node(name="hint", stage=HINT, config=HINTS, inputs={"data": External(data, "data")})
        hints = build_all([hint], Store(store), Memo(folder / "memo.json"), RunOptions())["hint"].path
        bigram = write_bigram_trace(shared, data, hints, folder / "trace")
        traces: dict[str, External | Link] = {"bigram": External(bigram, "every file")}
        nodes = [hint]
        if network:
            nodes += network_nodes(data)
            traces["network"] = Link("score", ("trace",))
        nodes += rule_nodes(rules, buckets, data, traces)
        artifacts = build_all(nodes, Store(store), Memo(folder / "memo.json"), RunOptions())
        bases = []
        for base in traces:
            found = [scores_of(rule, artifacts[mix_name(base, rule)]) for rule in rules]
            title = TITLES[base](artifacts)
            bases.append(Base(title, found[0][0], [scores for _, scores in found]))
        return bases


def _network_title(artifacts: dict[str, Artifact]) -> str:
    facts, size = artifacts["train"].record.facts, artifacts["compress"].record.facts["artifact_bytes"]
    return (
        f"Over a small network (the demo's size, {size:,} bytes packed in int6; {facts['steps']:,} steps on "
        f"{facts['tokens']:,} tokens of other English text; seed 1337)"
    )


TITLES: dict[str, Callable[[dict[str, Artifact]], str]] = {
    "bigram": lambda _: "Over a bigram model counted on 90 M FineWeb training tokens",
    "network": _network_title,
}


# --- the page


def table(base: Base, buckets: Sequence[int] = BUCKETS) -> str:
    """One base's table in Markdown."""
    targets, own_bpb = int(str(base.neural["targets"])), number(base.neural, "bpb")
    loads = "".join(f" legacy, {size:,} buckets: load {targets / size:.2f} | its mass |" for size in buckets)
    lines = [
        f"**{base.name}**: {own_bpb:.4f} bpb by itself ({number(base.neural, 'loss_nats'):.4f} nats per token, "
        f"{targets:,} targets, {base.neural['bytes']:,} bytes).",
        "",
        f"| mixture | honest | gain over the base |{loads}",
        "|---|--:|--:|" + "--:|--:|" * len(buckets),
        *(row(scores, own_bpb, buckets) for scores in base.rules),
    ]
    return "\n".join(lines)


def row(scores: Scores, own_bpb: float, buckets: Sequence[int] = BUCKETS) -> str:
    """One rule's line."""
    honest = number(scores.honest, "bpb")
    cells = [scores.rule.name, f"{honest:.4f}", f"{own_bpb - honest:+.4f}"]
    for size in buckets:
        cell = scores.hashed.get(size)
        cells += ["", ""] if cell is None else [f"*{number(cell, 'bpb'):.4f}*", f"{number(cell, 'mass_mean'):.1f}"]
    return f"| {' | '.join(cells)} |"


def number(cell: Cell, column: str) -> float:
    """A cell's value as a number."""
    value = cell[column]
    assert isinstance(value, int | float)
    return float(value)


def block(bases: Sequence[Base]) -> str:
    """All tables, with a description of the data."""
    machine = f"{cpu_name()}, {len(sched_getaffinity(0))} cores, {datetime.now(UTC).date()}"
    note = f"Bits per byte; {machine}. One run each: nothing here is random but the network's training (one seed)."
    return "\n\n".join([*(table(base) for base in bases), note])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write if requested; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("PGOLF_TEST_DATA"), help="folder of the real tokens"
    )
    parser.add_argument("--store", type=Path, default=ROOT / "artifacts", help="default: %(default)s")
    parser.add_argument("--network", action="store_true", help="train and score the small network too (minutes)")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(argv)
    if options.data is None or not options.data.is_dir():
        print("name the folder of real tokens by --data or PGOLF_TEST_DATA", file=sys.stderr)
        return 2
    text = block(measure(options.data, options.store, network=options.network))
    print(text)
    if options.write:
        page = PAGE.read_text()
        start, stop = page.index(BEGIN) + len(BEGIN), page.index(END)
        PAGE.write_text(f"{page[:start]}\n{text}\n{page[stop:]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
