"""#1493 at full size on a CPU: what each stage but training takes, beside the same network with fewer tokens.

35,944,536 parameters, windows of 2,048, a vocabulary of 8,192, beside one of 1,024 with everything else equal. A ratio
of 8 is linear growth; whatever does not depend on the vocabulary stays at 1.

CPU seconds of one thread. Each vocabulary has a new process for each stage, both at the same time. Peak memory is the
process's, with its libraries. Weights are random numbers, which cost what trained ones do. The tokens are made up:
Zipf's law, documents of 1,000 tokens on average, half of the text in passages from before.

Hessians are measured on two rows in a batch, where the published batch has 48, which takes more memory; a step of
learning has two rows, where the published one has 16 of them in eight such parts. At full size there are 3,072 rows to
calibrate on, 633,409 windows to score, 19,795 rows that are learned three times, and 40,540,160 targets. The trial is
the one that a run makes of itself (effort quick, rows of 128 tokens, the network's own score). With test-time training
it is one question that is timed: an evaluation of the trial's text, scored and learned; that of the whole trial is
extrapolated, with as many evaluations as the trial of fixed weights asked for.
"""

import json
import multiprocessing
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bench.measured import Line, Report, arguments_parser, show
from bench.score_speed import Measured
from bench.timing import Spread, ratios
from pgolf.audit import audit_stage
from pgolf.audit.audit_config import AuditConfig
from pgolf.audit.run_scorers import RunScorers
from pgolf.audit.shortened import shortened
from pgolf.corpus.shards import stream_digest
from pgolf.counts import count_stage, hint_stage
from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.eval.trace import Trace, write_trace
from pgolf.eval.ttt import Learner
from pgolf.eval.ttt_config import TttConfig
from pgolf.eval.windows import plan_windows
from pgolf.mix import mix_stage
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.config import MixConfig
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.model.checkpoint import build_model, load_checkpoint, save_checkpoint
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.parameter_count import parameter_count
from pgolf.model.tensor_file import save_tensors
from pgolf.pack import compress_stage
from pgolf.pack.container import pack, serialize, unpack
from pgolf.pack.load import load_packed
from pgolf.pipeline.own_trial import own_trial
from pgolf.quant.hessian import InputHessians
from pgolf.quant.sensitivity import TOKEN_TABLE
from pgolf.quant.threads import intra_op_threads
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import validated
from pgolf.recipes.recipe import Recipe
from pgolf.run_options import RunOptions
from tests.data_folder import write_data_folder

VOCABULARIES = (8192, 1024)
STAGES = ("calibrate", "score", "learn", "count", "hint", "mix", "hedge", "compress", "load", "audit", "brotli")
ROWS = 2  # of a batch that is calibrated on, and of a step of learning
BOS = 1
ONE_THREAD = RunOptions(device="cpu", threads=1)
CHECKPOINT, HESSIANS, MODEL, DATA, TRACE, COUNTS = "checkpoint", "hessians", "model", "data", "trace", "counts"
HEDGE = MixConfig(mixers=(), hedges=(HedgeConfig(chunk_tokens=1 << 15),))
GRID = MixConfig(mixers=("dirichlet",), concentrations=tuple(np.geomspace(0.5, 64, 8).tolist()), bayes=(BayesConfig(),))


@dataclass(frozen=True, slots=True)
class Place:
    """The system with one vocabulary, and the folder of what its stages read and write; targets: of its text."""

    recipe: Recipe
    folder: Path
    targets: int

    @property
    def row(self) -> int:
        """Tokens of a row."""
        return self.recipe.train.sequence_length

    def inputs(self, *roles: str) -> dict[str, Path]:
        """Folders of earlier stages' outputs."""
        return {role: self.folder / role for role in roles}


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of what was timed, and the peak memory of its process until then.

    size: what it came to, bytes or a trial's evaluations.
    """

    cpu_s: float
    peak_bytes: int
    size: int = 0


Work = Callable[[Place], Cost]
Costs = Sequence[Sequence[Cost]]  # [place][repeat]


def tokens_like_text(count: int, vocab_size: int, seed: int = 1) -> npt.NDArray[np.uint16]:
    """Zipf-distributed tokens in documents, half of them in passages copied from before."""
    rng = np.random.default_rng(seed)
    weight_V = 1 / np.arange(1.0, vocab_size - BOS)
    tokens = (1 + BOS + rng.choice(len(weight_V), count, p=weight_V / weight_V.sum())).astype(np.uint16)
    tokens[rng.random(count) < 1e-3] = BOS
    ends = np.cumsum(rng.geometric(1 / 12, 1 + count // 6))
    for first, last in zip(ends[:-1:2].tolist(), ends[1::2].tolist()):
        if last > count:
            break
        source = int(rng.integers(first))
        tokens[first:last] = np.resize(tokens[source : min(source + last - first, first)], last - first)
    tokens[0] = BOS
    return tokens


def random_state(config: ModelConfig) -> dict[str, torch.Tensor]:
    """A network's tensors: matrices of normal numbers that keep a vector's size, everything else as it begins."""
    draws = torch.Generator().manual_seed(1)
    state = GPT(config).state_dict()
    for tensor in state.values():
        if tensor.ndim == 2:
            tensor.copy_(torch.randn(tensor.shape, generator=draws) / tensor.shape[1] ** 0.5)
    return state


def prepare(place: Place) -> Cost:
    """Write a checkpoint, and data of so many validation targets in whole windows."""
    for name in (CHECKPOINT, HESSIANS, MODEL, TRACE, COUNTS):
        (place.folder / name).mkdir(parents=True)
    path = place.folder / CHECKPOINT / "checkpoint.safetensors"
    save_checkpoint(path, place.recipe.model, random_state(place.recipe.model), {})
    tokens = tokens_like_text(place.targets + 1, place.recipe.model.vocab_size)
    # Bytes come beside the tokens: there is no tokenizer of made-up ones.
    write_data_folder(
        place.folder / DATA,
        val=[tokens],
        val_bytes=[np.full(len(tokens), 4)],
        vocab_size=place.recipe.model.vocab_size,
    )
    return Cost(0.0, 0)


def calibrate(place: Place) -> Cost:
    """Both rows of a batch through the network, and all Hessians; written for the next stage."""
    network, rows_BT = network_of(place), _rows(place)
    began_s = time.process_time()
    hessians = InputHessians(network)
    with intra_op_threads(1), torch.inference_mode(), hessians:
        hessians.add(TOKEN_TABLE, network.hidden(rows_BT))
    means = hessians.mean(1)
    cost = _cost(began_s)
    save_tensors(place.folder / HESSIANS / "hessians.safetensors", means, {})
    return cost


def compress(place: Place) -> Cost:
    """The whole stage: fixed clips, GPTQ, the recipe's coder, written and verified."""
    config = place.recipe.compress.model_copy(update={"allow_over_budget": True})
    began_s = time.process_time()
    made = compress_stage.make(
        config, place.inputs(CHECKPOINT, HESSIANS), place.folder / MODEL, ONE_THREAD, code_bytes=0
    )
    return _cost(began_s, int(str(made.facts["artifact_bytes"])))


def pack_by_brotli(place: Place) -> Cost:
    """The codes of the packed file by the published coder."""
    path = place.folder / MODEL / "model.pgolf"
    content = serialize(unpack(path.read_bytes(), where=str(path)))
    began_s = time.process_time()
    return _cost(began_s, len(pack(content, 11, codec="brotli")))


def load(place: Place) -> Cost:
    """The packed file, decoded to tensors."""
    began_s = time.process_time()
    load_packed(place.folder / MODEL / "model.pgolf")
    return _cost(began_s)


def score(place: Place) -> Cost:
    """One sliding window that scores its last stride."""
    windows = Measured(network_of(place), place.recipe.score.model_copy(update={"ttt": None}), 1)
    began_s = time.process_time()
    windows.ours(1, 1)
    return _cost(began_s)


def learn(place: Place) -> Cost:
    """One epoch over a chunk of two rows, with the step that ends it."""
    ttt = place.recipe.score.ttt
    assert isinstance(ttt, TttConfig)
    chunk = {"chunk_tokens": ROWS * place.row, "sequence_length": place.row, "groups": 1, "epochs": 1}
    config = validated(TttConfig, dict(ttt) | chunk)
    learner = Learner(network_of(place), _tokens(place, 1 + 2 * ROWS * place.row), config, threads=1)
    began_s = time.process_time()
    learner.learn(0)
    return _cost(began_s)


def count(place: Place) -> Cost:
    """The exact count stage, one history, every target visible to the next segment."""
    score = place.recipe.score
    config = CountConfig(estimator="exact", ranks=1, window=score.window, stride=score.stride)
    began_s = time.process_time()
    count_stage.make(config, place.inputs(DATA), place.folder / COUNTS, ONE_THREAD)
    return _cost(began_s)


def hint(place: Place) -> Cost:
    """The hint stage, visible behind the network's window."""
    score = place.recipe.score
    config = HintConfig(delay_targets=score.window, window=score.window, stride=score.stride)
    with tempfile.TemporaryDirectory() as out:
        began_s = time.process_time()
        hint_stage.make(config, place.inputs(DATA), Path(out), ONE_THREAD)
        return _cost(began_s)


def mix(place: Place) -> Cost:
    """A grid over the counts, and Bayes over it, with a simulated network's losses."""
    score = place.recipe.score
    tokens = tokens_like_text(place.targets + 1, place.recipe.model.vocab_size)
    rng = np.random.default_rng(1)
    plan = plan_windows(len(tokens) - 1, window=score.window, stride=score.stride)
    loss_nats, entropy_nats = (rng.exponential(2.5, plan.targets).astype(np.float32) for _ in range(2))
    trace = Trace(plan.record_targets(), loss_nats, entropy_nats)
    write_trace(place.folder / TRACE / "trace.arrow", [trace], plan=plan, stream=stream_digest(tokens))
    del trace, tokens
    with tempfile.TemporaryDirectory() as out:
        inputs = place.inputs(DATA, TRACE) | {"counts.exact": place.folder / COUNTS}
        began_s = time.process_time()
        mix_stage.make(GRID, inputs, Path(out), ONE_THREAD)
        return _cost(began_s)


def hedge(place: Place) -> Cost:
    """A Hedge mixture over the losses that `mix` left, in chunks of 32,768."""
    with tempfile.TemporaryDirectory() as out:
        began_s = time.process_time()
        mix_stage.make(HEDGE, place.inputs(DATA, TRACE), Path(out), ONE_THREAD)
        return _cost(began_s)


def audit(place: Place) -> Cost:
    """The whole trial of the network with fixed weights."""
    with tempfile.TemporaryDirectory() as out:
        began_s = time.process_time()
        audit_stage.make(trial_of(place.recipe, learns=False), place.inputs(MODEL, DATA), Path(out), ONE_THREAD)
        cost = _cost(began_s)
        document = json.loads((Path(out) / audit_stage.VERDICTS_FILE).read_text())
    (scorer,) = document["scorers"]
    return replace(cost, size=sum(verdict["cost"]["calls"] for verdict in scorer["verdicts"]))


def question(place: Place) -> Cost:
    """One evaluation of the trial's text with test-time training."""
    tried = shortened(trial_of(place.recipe, learns=True))
    packed = load_packed(place.folder / MODEL / "model.pgolf")
    vocab_size = place.recipe.model.vocab_size
    run = RunScorers(packed, vocab_size=vocab_size, bos_id=BOS, score=tried.score, mix=tried.mix, counts={}, threads=1)
    tokens = _tokens(place, tried.least_targets + 1)
    began_s = time.process_time()
    run.losses(tokens)
    return _cost(began_s)


def trial_of(recipe: Recipe, *, learns: bool) -> AuditConfig:
    """What a run of the recipe asks of its own scorers, with or without test-time training."""
    score = recipe.score if learns else recipe.score.model_copy(update={"ttt": None})
    trial = own_trial(recipe.model_copy(update={"score": score}))
    assert trial is not None
    return trial


def _tokens(place: Place, count: int) -> npt.NDArray[np.uint16]:
    return tokens_like_text(count, place.recipe.model.vocab_size)


def _rows(place: Place) -> torch.Tensor:
    return torch.from_numpy(_tokens(place, ROWS * place.row).astype(np.int64)).view(ROWS, place.row)


def network_of(place: Place) -> GPT:
    """The network of the checkpoint, ready to run."""
    checkpoint = load_checkpoint(place.folder / CHECKPOINT / "checkpoint.safetensors")
    return build_model(checkpoint.config, checkpoint.state, torch.device("cpu"))


def _cost(began_s: float, size: int = 0) -> Cost:
    return Cost(time.process_time() - began_s, peak_bytes(), size)


def peak_bytes() -> int:
    """Peak resident memory of this program; getrusage would count that of the process that started it, too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def costs_of(places: Sequence[Place], work: Work, repeats: int, *, warm: bool = False) -> Costs:
    """Costs of all places at the same time, each in a new process. warm: once untimed, so that loops are compiled."""
    context = multiprocessing.get_context("spawn")
    rounds = []
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, mp_context=context)) for _ in places]
        for number in range(repeats + warm):
            asked = [pool.submit(work, place) for pool, place in zip(pools, places, strict=True)]
            costs = [future.result() for future in asked]
            said = ", ".join(f"{cost.cpu_s:.3f} s, {cost.peak_bytes / 1e9:.3f} GB, {cost.size:,}" for cost in costs)
            print(f"{work.__name__}: {said}", file=sys.stderr, flush=True)
            if number >= warm:
                rounds.append(costs)
    return [list(costs) for costs in zip(*rounds, strict=True)]


def lines_of(name: str, unit: str, costs: Costs, places: Sequence[Place], per: float) -> list[Line]:
    """Seconds per so many things of each vocabulary, the ratio of the first to the second, and peak memory."""
    seconds = [[cost.cpu_s / per for cost in of_place] for of_place in costs]
    marks = list(map(_mark, places))
    return [
        *(Line(f"{name}, {mark}", unit, Spread.of(each)) for mark, each in zip(marks, seconds, strict=True)),
        Line(f"{name}: ratio", "times", ratios(*seconds), "<= 8"),
        *(
            Line(f"{name}: peak memory, {mark}", "GB", Spread.of([max(cost.peak_bytes for cost in each) / 1e9]))
            for mark, each in zip(marks, costs, strict=True)
        ),
    ]


def measure(places: Sequence[Place], repeats: int, stages: Sequence[str] = STAGES) -> list[Line]:
    """The lines of some stages, which need those before. What takes longer than 10 s at full size is timed once."""
    costs_of(places, prepare, 1)
    lines: list[Line] = []
    of_targets = "s/M targets", places[0].targets / 1e6

    def add(name: str, unit: str, per: float, costs: Costs) -> Costs:
        lines.extend(lines_of(name, unit, costs, places, per))
        return costs

    if "calibrate" in stages:
        add("calibrate: forward and Hessians", "s/row", ROWS, costs_of(places, calibrate, 1))
    if "score" in stages:
        add("score: sliding", "s/window", 1, costs_of(places, score, repeats))
    if "learn" in stages:
        add("learn: backward and step", "s/row and epoch", ROWS, costs_of(places, learn, 1))
    if "count" in stages:
        add("count: exact, orders 2 to 7", *of_targets, costs_of(places, count, repeats, warm=True))
    if "hint" in stages:
        add("hint: orders 7 to 17", *of_targets, costs_of(places, hint, repeats, warm=True))
    if "mix" in stages:
        name = f"mix: {6 * len(GRID.concentrations)} points and Bayes over them"
        add(name, *of_targets, costs_of(places, mix, repeats, warm=True))
    if "hedge" in stages:
        add("hedge: with unigrams, bigrams, trigrams", *of_targets, costs_of(places, hedge, repeats, warm=True))
    if "compress" in stages:
        costs = add("compress: GPTQ and rans, verified", "s", 1, costs_of(places, compress, 1))
        lines += _sizes("compress: file by rans", "bytes", costs, places)
    if "load" in stages:
        add("load", "s", 1, costs_of(places, load, repeats, warm=True))
    if "audit" in stages:
        tried = add("audit, fixed weights: whole trial", "s", 1, costs_of(places, audit, 1))
        lines += _sizes("audit, fixed weights: asked for", "evaluations", tried, places)
        asked = add("audit, test-time training: one evaluation", "s", 1, costs_of(places, question, 1))
        for place, (one,), (whole,) in zip(places, asked, tried, strict=True):
            name = f"audit, test-time training: extrapolated to {whole.size:,} evaluations, {_mark(place)}"
            lines.append(Line(name, "s", Spread.of([one.cpu_s * whole.size])))
    if "brotli" in stages:
        costs = add("the same codes by brotli 11", "s", 1, costs_of(places, pack_by_brotli, 1))
        lines += _sizes("file by brotli", "bytes", costs, places)
    return lines


def _mark(place: Place) -> str:
    return f"V = {place.recipe.model.vocab_size:,}"


def _sizes(name: str, unit: str, costs: Costs, places: Sequence[Place]) -> list[Line]:
    return [
        Line(f"{name}, {_mark(place)}", unit, Spread.of([each[0].size]))
        for place, each in zip(places, costs, strict=True)
    ]


def places_of(recipe: Recipe, vocabularies: Sequence[int], folder: Path, targets: int) -> list[Place]:
    """The recipe at each vocabulary, with everything else equal; targets are cut to whole windows."""
    found = []
    window = recipe.score.window
    for vocab_size in vocabularies:
        model = validated(type(recipe.model), dict(recipe.model) | {"vocab_size": vocab_size})
        sized = recipe.model_copy(update={"model": model})
        found.append(Place(sized, folder / str(vocab_size), targets // window * window))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=3)
    parser.add_argument("--recipe", default="pr1493", help="default: %(default)s")
    parser.add_argument("--targets", type=int, default=1_000_000, help="counted and mixed (default: %(default)s)")
    parser.add_argument(
        "--stages", nargs="+", choices=STAGES, default=STAGES, help="each needs those before it (default: all)"
    )
    options = parser.parse_args(argv)
    recipe = recipe_named(options.recipe)
    with tempfile.TemporaryDirectory(prefix="pgolf-bench-") as temporary:
        places = places_of(recipe, VOCABULARIES, Path(temporary), options.targets)
        lines = measure(places, options.repeats, options.stages)
    title = f"full size: {recipe.name}, {parameter_count(places[0].recipe.model):,} parameters, one thread"
    command = shlex.join(["python", "-m", "bench.full_size_cost", *argv])
    show(Report.of(title, __doc__ or "", command, lines), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
