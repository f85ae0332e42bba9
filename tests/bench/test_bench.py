"""Every benchmark runs at a toy size and prints ratios; what they come to is nobody's claim here."""

import json
import sys
from concurrent.futures import Future
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench import __main__ as bench
from bench import checkpoint_cost as checkpoint
from bench import clip_codecs, codecs, full_size_cost, rerun_cost, scale, start, train_step, watch_cost
from bench import compress_speed as compress
from bench import count_speed as counts
from bench import grid_speed as grid
from bench import overlap_speed as overlap
from bench import score_speed as score
from bench import store_scale as store
from bench import sweep_cost as sweep
from bench.measured import Line, Report
from bench.timing import Spread, in_turns_s, ratios
from flows.commands.cli import main as cli_main
from pgolf.audit import audit_stage
from pgolf.audit.effort import Effort
from pgolf.eval.config import ScoreConfig
from pgolf.identity.watch import is_watched
from pgolf.model.checkpoint import Checkpoint, save_checkpoint
from pgolf.model.flops import training_flops_per_token
from pgolf.model.init import initial_model
from pgolf.pack.config import CompressConfig
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.run_options import Made
from pgolf.store import content
from pgolf.tables.parquet import append
from pgolf.tables.ranked import NEURAL
from pgolf.tables.schema import SCORES
from tests.data_folder import write_data_folder
from tests.pack.network import FP16_MAX_ELEMENTS, SMALL, random_state
from tests.train.runs import TINY

SECTION = Report(
    title="a title",
    about="one thing against another",
    command="python -m bench.count_speed",
    device="a processor, 2 cores",
    date="2025-12-01",
    lines=(Line("ours", "times", Spread(3, 1.0, 2.0, 4.0), ">= 8"),),
)


def test_works_are_timed_in_turns():
    called = []
    seconds = in_turns_s([lambda: called.append("a"), lambda: called.append("b")], repeats=2)
    assert called == ["a", "b", "a", "b"]
    assert [len(of_work) for of_work in seconds] == [2, 2]


def test_a_ratio_is_taken_turn_by_turn():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == Spread(2, 2.0, 2.5, 3.0)


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (counts.main, ["--targets", "2000", "--orders", "2", "3"]),
        (grid.main, ["--targets", "500", "--points", "12"]),
        (overlap.main, ["--train-tokens", "20000", "--shards", "0"]),
    ],
)
def test_the_numerical_benchmarks_print_ratios_and_the_command_that_makes_them(main, arguments, capsys, monkeypatch):
    monkeypatch.delenv("PGOLF_TEST_DATA", raising=False)  # over which counts would measure at full size as well
    arguments = [*arguments, "--repeats", "1", "--json"]
    assert main(arguments) == 0
    report = Report.from_json(capsys.readouterr().out)
    assert report.command == f"python -m {main.__module__} {' '.join(arguments)}"
    assert [line for line in report.lines if line.unit == "times"]
    assert all(line.spread.n == 1 and line.spread.median > 0 for line in report.lines)
    assert report.title in report.to_text()


def test_the_codec_benchmark_compares_with_the_bound_and_the_best_general_codec():
    network = Checkpoint(config=SMALL, state=random_state(), facts={})
    lines = {line.name: line.spread.median for line in codecs.measure("toy", network, 6, FP16_MAX_ELEMENTS, 1)}
    bound_kb = next(value for name, value in lines.items() if name.endswith("order-0 entropy"))
    file_kb, side_kb = lines["toy int6: file, rans"], lines["toy int6: side information"]
    assert lines["toy int6: file / bound"] == pytest.approx(file_kb / (bound_kb + side_kb))
    best_kb = min(value for name, value in lines.items() if "codes by" in name and "rans" not in name)
    assert lines["toy int6: codes, rans / best general"] == pytest.approx(lines["toy int6: codes by rans"] / best_kb)


def test_the_clip_benchmark_packs_the_same_codes_by_both_coders_and_spends_what_one_saves(tmp_path):
    random = np.random.default_rng(0)
    tokens = [random.integers(0, SMALL.vocab_size, 1500) for _shard in range(4)]
    data = write_data_folder(tmp_path / "data", train=tokens, val=tokens[:1], vocab_size=SMALL.vocab_size)
    (tmp_path / "checkpoint").mkdir()
    config = SMALL.model_copy(update={"layers": 1})
    state = {name: tensor + 0.1 for name, tensor in initial_model(config, 1).state_dict().items()}
    save_checkpoint(tmp_path / "checkpoint" / "checkpoint.safetensors", config, state, {})
    base = CompressConfig(fp16_max_elements=FP16_MAX_ELEMENTS)
    network = clip_codecs.calibrated(base, tmp_path / "checkpoint", data, tmp_path, 512)
    lines = {line.name: line for line in clip_codecs.network_lines([network], data, tmp_path, 512)}
    brotli_kb = lines["trained: file, brotli"].spread.median
    for way in ("finest k", "allocate"):
        assert lines[f"trained: rans, {way} in brotli's bytes: file"].spread.median <= brotli_kb
        above, less = (
            lines[f"trained: rans, {way} in brotli's bytes: {what}"].spread.median
            for what in ("loss above the unpacked network", "less than at k as published")
        )
        published = lines["trained: k as published: loss above the unpacked network"].spread.median
        assert above + less == pytest.approx(published, abs=1e-9)
    (gaussian,) = [line for line in clip_codecs.code_lines("toy", clip_codecs.gaussian(64, 1, 128)) if line.unit == "%"]
    assert gaussian.target == "> 0"


def test_the_full_size_benchmark_measures_every_stage_at_two_vocabularies(monkeypatch, tmp_path, capsys):
    class AtOnce:
        def __init__(self, *_, **__):
            pass

        def submit(self, work, *arguments):
            done = Future()
            done.set_result(work(*arguments))
            return done

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(full_size_cost, "ProcessPoolExecutor", AtOnce)
    tiny = recipe_named("pr1493-tiny")
    changes = ["score.window=16", "score.stride=4", "score.ttt.sequence_length=16", "train.sequence_length=16"]
    changes += ["audit.longest_row=16", "audit.targets=40", "calibrate.sequence_length=16", "count.window=16"]
    changes += ["model.layers=3", "model.recurrence=[1]", "model.parallel_from=2", "model.width=16", "model.heads=2"]
    changes += ["model.kv_heads=1", "model.mlp_width=32", "model.rope_dims=4", "compress.fp16_max_elements=300"]
    small = apply_overrides(tiny, [*changes, "count.stride=4", "train.tokens_per_step=128"])
    few = {field.name: 1 for field in fields(Effort)}
    monkeypatch.setitem(audit_stage.EFFORTS, "quick", Effort(**few))
    monkeypatch.setattr(full_size_cost, "recipe_named", lambda _name: small)
    monkeypatch.setattr(full_size_cost, "VOCABULARIES", (48, 32))
    assert full_size_cost.main(["--targets", "500", "--repeats", "1", "--json"]) == 0
    report = Report.from_json(capsys.readouterr().out)
    lines = {line.name: line for line in report.lines}
    ratio_of = {name.removesuffix(": ratio"): line for name, line in lines.items() if name.endswith(": ratio")}
    assert len(ratio_of) == len(full_size_cost.STAGES) + 1  # the audit has two
    for name, line in ratio_of.items():
        large, little = (lines[f"{name}, V = {vocab_size}"] for vocab_size in (48, 32))
        assert (line.target, line.unit) == ("<= 8", "times")
        assert large.spread.n == little.spread.n == line.spread.n
        assert large.spread.least / little.spread.most <= line.spread.median <= large.spread.most / little.spread.least
        assert lines[f"{name}: peak memory, V = 48"].spread.median > 0
    for vocab_size in (48, 32):
        evaluations = lines[f"audit, fixed weights: asked for, V = {vocab_size}"].spread.median
        one_s = lines[f"audit, test-time training: one evaluation, V = {vocab_size}"].spread.median
        whole = f"audit, test-time training: extrapolated to {evaluations:,} evaluations, V = {vocab_size}"
        assert lines[whole].spread.median == pytest.approx(evaluations * one_s)
        assert lines[f"file by brotli, V = {vocab_size}"].unit == "bytes"


def test_made_up_text_repeats_passages_and_has_documents():
    tokens = full_size_cost.tokens_like_text(20_000, 1024)
    assert tokens.min() == full_size_cost.BOS
    assert tokens.max() < 1024
    assert 5 < (tokens == full_size_cost.BOS).sum() < 60
    fours = np.lib.stride_tricks.sliding_window_view(tokens, 4)
    seen_before = 1 - len(np.unique(fours, axis=0)) / len(fours)
    assert 0.2 < seen_before < 0.6


def test_the_sweep_benchmark_runs_every_stage_for_every_point_that_it_reruns(monkeypatch, tmp_path, capsys):
    called = []
    for module in (sweep.score, sweep.count, sweep.mix_stage):
        monkeypatch.setattr(
            module, "make", lambda config, *_, name=module.__name__: called.append(name) or Made(facts={"records": 100})
        )

    def evaluations(recipe, _store, folder):
        config = SimpleNamespace(config=recipe.score)
        return [sweep.Evaluation(recipe, config, {}, folder / str(seed)) for seed in recipe.seeds]

    monkeypatch.setattr(sweep, "evaluations", evaluations)
    assert sweep.main(["--repeats", "2", "--json"]) == 0
    report = Report.from_json(capsys.readouterr().out)
    assert report.title == "the published sweep on pr715-tiny, 2 seeds"
    # Per seed: 20 of each rerun; timed and for the other timings' inputs, twice a pass and twice the counts, 2 mixes.
    assert [called.count(module.__name__) for module in (sweep.score, sweep.count, sweep.mix_stage)] == [45, 45, 45]
    lines = {line.name: line.spread for line in report.lines}
    assert lines["rerun / swept"].n == 2
    assert lines["pass, per target"].median == pytest.approx(
        1e4 * lines["one pass of the network over 100 targets"].median
    )


def test_the_watch_benchmark_does_the_same_work_watched_and_not(tmp_path):
    done = []

    class Evaluation:
        def score(self):
            return done.append(("score", is_watched()))

        def count(self, orders):
            return done.append(("count", is_watched()))

        def mix(self, trace, counts, orders, alphas):
            return done.append(("mix", is_watched()))

    lines = {
        line.name: line
        for line in watch_cost.measure(Evaluation(), lambda: done.append(("step", is_watched())), tmp_path, 3)
    }
    for name in ("count", "mix", "step"):
        times = 3 if name == "step" else 60
        assert done.count((name, True)) == times
        assert done.count((name, False)) == times + 1 + (name == "count")
    assert (
        lines["mix of 495 points: watched / not"].target
        == lines["counts of 5 orders: watched / not"].target
        == "<= 1.02"
    )
    assert lines["training step: watched / not"].spread.n == 3


def test_the_compression_benchmark_times_the_whole_ladder_and_what_it_replaces():
    network = Checkpoint(config=SMALL, state=random_state(), facts={})
    lines = {line.name: line for line in compress.measure(network, FP16_MAX_ELEMENTS, 1)}
    # Four levels of every rung, and none of them left out.
    assert lines["ladder, all attempts: attempts"].spread.median == 4 * (SMALL.layers + 1)
    assert lines["first attempt alone: attempts"].spread.median == 1
    assert 2 <= lines["ladder, one more rung: attempts"].spread.median <= 8
    assert lines["plain attempt: CPU"].spread.n == 4
    assert lines["allocate, rans: budget used"].spread.median <= 100
    assert lines["20 plain attempts / ladder"].spread.n == 1
    assert {line.target for line in lines.values()} == {"", "<= 90", "<= 180", ">= 99.95"}


def test_the_start_benchmark_prints_the_ratios_of_whole_processes(monkeypatch, capsys):
    # A finished store takes half a minute to make; tests/flows holds what plan and run do over one.
    plan = json.dumps({"steps": [{"node": "data", "action": "reuse", "folder": "tokenize-0123456789ab"}]})
    monkeypatch.setattr(start, "PGOLF", (sys.executable, "-c", f"print({plan!r})"))
    assert start.main(["--repeats", "1", "--json", "--", "demo", "--seeds", "1"]) == 0
    report = Report.from_json(capsys.readouterr().out)
    assert report.command == "python -m bench.start --repeats 1 --json -- demo --seeds 1"
    units = {line.name: line.unit for line in report.lines}
    assert units["pgolf plan: over python -c pass"] == units["pgolf run, all reused: over python -c pass"] == "times"
    assert units["pgolf plan"] == units["pgolf run, all reused"] == units['python -c "import pgolf"'] == "s"


def test_the_store_benchmark_plans_over_made_up_runs_and_over_files_that_nobody_has_read(tmp_path, monkeypatch, capsys):
    plans = []

    def run(command):
        assert cli_main([*command[len(store.PGOLF) :], *(["--json"] if "plan" in command else [])]) == 0
        plans.append(capsys.readouterr().out)

    monkeypatch.setattr(store, "run", run)
    monkeypatch.setattr(content, "SETTLED_NS", 0)  # a run of full length takes longer than files need to settle
    lines = {line.name: line for line in store.measure(tmp_path, runs=2, sparse_gb=0.3, repeats=1)}
    assert lines["plan, 0.3 GB of documents never read"].target == "<= 2"
    assert all(line.spread.median > 0 for line in lines.values())
    actions = [{step["action"] for step in json.loads(text)["steps"]} for text in plans if text.startswith("{")]
    changed = {"reuse", "run", "depends"}
    assert actions == [changed, {"reuse"}, {"reuse"}, changed, {"depends"}, {"run", "depends"}]


def test_the_scale_benchmark_sweeps_both_ways_and_counts_what_is_left(tmp_path, monkeypatch, capsys):
    swept = []

    class Finished:
        """Commands that take no time: a flow of three trained seeds is minutes."""

        def __init__(self, *_about):
            pass

        def sweep(self, grid, *options):
            swept.append((grid, options))
            append(
                tmp_path, SCORES, "demo-0", [{"recipe": "demo", "seed": 1, "loss_nats": 2.0, "targets": 9, **NEURAL}]
            )
            return scale.Ran(2.0 if options else 6.0, 10**6), tmp_path

        def results(self, _results):
            return 0.5

        def plan(self):
            return 0.5

        def prefect_bytes(self):
            return len(swept) * 10**6

    monkeypatch.setattr(scale, "Place", Finished)
    assert scale.main(["--repeats", "2", "--alphas", "5", "--json"]) == 0
    report = Report.from_json(capsys.readouterr().out)
    assert report.title == "a flow of 3 seeds x 80 grid points"
    grid = "alpha=0:0.004:0.001 order=2..5 mixer=fixed,backoff"
    assert swept[2:] == [(grid, ()), (grid, ("--no-prefect",))] * 2
    lines = {line.name: line.spread for line in report.lines}
    assert lines["flow / plain process"].median == 3
    assert lines["what Prefect keeps of one flow"].median == 1
    assert lines["score table of 1 rows"].n == 1


def test_without_a_finished_store_the_start_benchmark_says_so(tmp_path, capsys):
    assert start.main(["--store", str(tmp_path / "none"), "--results", str(tmp_path / "results")]) == 2
    shown = capsys.readouterr()
    assert "19 of 19 outputs are not in the store" in shown.err
    assert "pgolf run demo" in shown.err
    assert not shown.out
    assert not (tmp_path / "none").exists()


def test_the_page_says_for_every_number_what_made_it(tmp_path, monkeypatch, capsys):
    missing = "## start\n\nNot measured: because"
    monkeypatch.setattr(bench, "section_of", lambda name: missing if name == "start" else SECTION)
    assert bench.main(["--out", str(tmp_path / "docs" / "page.md")]) == 2
    page = (tmp_path / "docs" / "page.md").read_text()
    assert page.startswith("# Benchmarks\n")
    assert "`python -m bench.count_speed` on a processor, 2 cores, 2025-12-01" in page
    assert "| ours | times | 3 | 1 | 2 | 4 | >= 8 |" in page
    assert missing in page
    assert Report.from_json(SECTION.to_json()) == SECTION


def test_one_section_of_the_page_is_measured_anew_and_the_others_stay(tmp_path, monkeypatch, capsys):
    def measured(name, *, of="a processor"):
        return replace(SECTION, command=f"python -m bench.{name} --json", device=of)

    out = ["--out", str(tmp_path / "page.md")]
    monkeypatch.setattr(bench, "section_of", measured)
    assert bench.main(out) == 0
    page = (tmp_path / "page.md").read_text()
    assert [*bench.sections_of(page)] == [*bench.BENCHMARKS]
    monkeypatch.setattr(bench, "section_of", lambda name: measured(name, of="another"))
    assert bench.main([*out, "--only", "codecs"]) == 0
    before = measured("codecs").to_markdown()
    assert (tmp_path / "page.md").read_text() == page.replace(before, measured("codecs", of="another").to_markdown())


def test_the_training_benchmark_composes_a_step_from_its_rows_and_says_so(monkeypatch, capsys):
    """Four rows of 16 tokens; on a CPU a step is never measured as a whole."""
    recipe = recipe_named("pr792")
    small = TINY.train.model_copy(update={"tokens_per_step": 64, "spans_per_step": 4, "average": "swa"})
    monkeypatch.setattr(
        train_step, "recipe_named", lambda _name: recipe.model_copy(update={"model": TINY.model, "train": small})
    )
    chosen = []
    monkeypatch.setattr(train_step, "choose_kernels", chosen.append)
    threads = torch.get_num_threads()
    try:
        assert train_step.main(["--device", "cpu", "--repeats", "2", "--json"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert chosen == [torch.device("cpu")]  # a training's kernels, not those that torch would take
    report = Report.from_json(capsys.readouterr().out)
    assert report.command == "python -m bench train_step --device cpu --repeats 2 --json"
    assert "composed" in report.title
    lines = {line.name: line.spread for line in report.lines}
    rows_ms = lines["forward and backward, one row"].least * 4
    once_ms = sum(lines[name].median for name in ("clipping", "AdamW", "Muon", "average"))
    assert lines["step, composed"].least == pytest.approx(rows_ms + once_ms)
    assert lines["speed"].most == pytest.approx(1e3 * 64 / lines["step, composed"].least)
    flops_per_s = 1e6 * lines["model"].median * lines["speed"].most
    assert lines["utilisation"].most == pytest.approx(100 * flops_per_s / (1e12 * lines["largest product"].median))


def test_the_checkpoint_benchmark_holds_standing_still_against_the_plain_way(monkeypatch, tmp_path, capsys):
    recipe = recipe_named("pr792").model_copy(update={"model": TINY.model, "train": TINY.train})
    monkeypatch.setattr(checkpoint, "recipe_named", lambda _name: recipe)
    monkeypatch.setattr(checkpoint, "products_per_s", lambda _seconds: 1.0)
    threads = torch.get_num_threads()
    try:
        assert checkpoint.main(["--repeats", "2", "--folder", str(tmp_path), "--json"]) == 0
    finally:
        torch.set_num_threads(threads)
    lines = {line.name: line.spread for line in Report.from_json(capsys.readouterr().out).lines}
    assert lines["standing still: plain / ours"].n == 2
    assert lines["checkpoint"].median > 0.1
    assert list(tmp_path.iterdir()) == []


RECURRENT = {"recurrence": (0, 1), "value_embedding_layers": (1, 2), "value_embedding_dim": 8}


@pytest.mark.parametrize("fields", [{}, RECURRENT, {"gated_attention": False, "value_residual": False}])
def test_the_arithmetic_left_for_the_last_positions_is_what_torch_counts(fields):
    """torch counts all keys of a query, so the masked halves are put on top."""
    config = TINY.model.model_copy(update=fields)
    model, length, last = initial_model(config, 1), 16, 3
    tokens_BT = torch.zeros(1, length, dtype=torch.long)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model.hidden(tokens_BT, last=last)  # makes the causal bias, which cannot be made under the counter
        with FlopCounterMode(display=False) as counter:
            model.logits(model.hidden(tokens_BT, last=last))
    masked = (config.executed_layers - 1) * config.width * length * (length - 1)
    masked += config.width * last * (last - 1)
    assert counter.get_total_flops() == 2 * (score.multiply_adds(config, length, last) + masked)
    assert score.multiply_adds(config, length, length) == score.multiply_adds(config, length)


def test_the_scoring_benchmark_compares_with_all_logits_and_with_the_most_there_is(monkeypatch, capsys):
    recipe = recipe_named("pr715")
    small = {"model": TINY.model, "score": ScoreConfig(window=32, stride=4)}
    monkeypatch.setattr(score, "recipe_named", lambda _name: recipe.model_copy(update=small))
    chosen = []
    monkeypatch.setattr(score, "choose_kernels", chosen.append)
    assert score.main(["--device", "cpu", "--repeats", "2", "--json"]) == 0
    assert chosen == [torch.device("cpu")]
    report = Report.from_json(capsys.readouterr().out)
    lines = {line.name: line.spread for line in report.lines}
    assert "none was available" in report.about
    assert lines["multiply-adds: plain / stage"].median > 1
    assert lines["most that plain / stage could be"].median > lines["multiply-adds: plain / stage"].median
    for name in ("1 thread: plain / stage", "2 threads: plain / stage", "stride = window, 1 thread: plain / stage"):
        assert lines[name].n == 2
    work = score.Measured(initial_model(TINY.model, 1).eval(), ScoreConfig(window=32, stride=4), 3)
    assert [batch.windows for batch in score.last_windows(work.plan, 3, 2)] == [range(1, 3), range(3, 4)]


def test_the_published_step_of_792_used_a_quarter_of_its_gpus():
    """114.45 ms on 8 H100 with a dense bfloat16 rate of 989 TFLOP/s by data sheet, of which about 80 % can be had."""
    model = recipe_named("pr792").model
    flops = training_flops_per_token(model, 2048) * 786_432
    assert train_step.utilisation(flops / 8, 114.45, 0.8 * 989e12) == pytest.approx(25, abs=1)


def test_one_benchmark_by_name_gets_its_own_options(monkeypatch):
    commands = []
    monkeypatch.setattr(
        bench.subprocess, "run", lambda command, **_: commands.append(command) or SimpleNamespace(returncode=2)
    )
    assert bench.main(["train_step", "--recipe", "pr745", "--no-compile"]) == 2
    assert commands == [[sys.executable, "-m", "bench.train_step", "--recipe", "pr745", "--no-compile"]]


@pytest.fixture
def fake_pgolf(monkeypatch, tmp_path):
    """Commands that print what `pgolf` does, and that Ctrl-C ends with the exit code given."""

    def install(exit_code):
        program = tmp_path / "pgolf.py"
        program.write_text(
            "import signal, sys, time\n"
            f"signal.signal(signal.SIGINT, lambda *_: sys.exit({exit_code}))\n"
            "said = ['15 of 18 stages reused', '▸ mix[1]', '✓ mix[1]  57 cells  0.1 s', 'validation bits']\n"
            "said.append('table: x')\n"
            'step = \'{"node": "data", "action": "reuse", "folder": "tokenize-0"}\'\n'
            "if sys.argv[1] == 'plan': said = ['{\"steps\": [' + step + ']}']\n"
            "for line in said:\n"
            "    print(line, flush=True)\n"
            "    time.sleep(0.02)\n"
            "if sys.argv[-1] == 'wait': time.sleep(60)\n"
        )
        timed = rerun_cost.timed
        monkeypatch.setattr(rerun_cost, "PGOLF", (sys.executable, str(program)))
        monkeypatch.setattr(start, "PGOLF", (sys.executable, str(program)))
        monkeypatch.setattr(rerun_cost, "NOTHING", "import time; time.sleep(0.1)")
        monkeypatch.setattr(
            rerun_cost,
            "timed",
            lambda command, interrupt_at=None: timed(
                [*command, "wait"] if interrupt_at else command, interrupt_at=interrupt_at
            ),
        )

    return install


def test_the_rerun_benchmark_times_result_end_and_ctrl_c_of_whole_commands(fake_pgolf, capsys):
    fake_pgolf(130)
    assert rerun_cost.main(["--repeats", "1", "--json"]) == 0
    report = Report.from_json(capsys.readouterr().out)
    found = {line.name: (line.unit, line.target, line.spread.median) for line in report.lines}
    for how, limit in (("with Prefect's own server", "<= 10"), ("without Prefect", "<= 4")):
        assert found[f"rerun {how}: whole command"][:2] == ("s", limit)
        assert found[f"rerun {how} / empty flow"][0] == "times"
        result_s = found[f"rerun {how}: from the last mix to the result"][2]
        assert 0.0 < result_s < found[f"rerun {how}: whole command"][2]
    assert [name for name in found if name.startswith("Ctrl-C")] == [
        f"Ctrl-C while {moment}: to the end" for moment in ("the server starts", "it mixes", "it draws")
    ]


def test_the_rerun_benchmark_takes_no_other_end_for_one_by_ctrl_c(fake_pgolf):
    fake_pgolf(1)
    with pytest.raises(RuntimeError, match="Ctrl-C while the server starts ended with 1, not 130"):
        rerun_cost.main(["--repeats", "1"])


def test_a_folder_that_is_not_there_is_said_before_anything_is_measured(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        overlap.main(["--folder", str(tmp_path / "nowhere")])
    assert ended.value.code == 2
    assert "nowhere: no folder; make it first, or leave the option out" in capsys.readouterr().err
