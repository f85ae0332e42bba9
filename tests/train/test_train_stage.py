"""The stage as the store calls it, with a real torchrun, and everything it refuses before starting one."""

import json
import os
import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pgolf.errors import ConfigError, DataError, NonFiniteLoss, ShardError
from pgolf.model.checkpoint import build_model, load_checkpoint
from pgolf.model.init import initial_model
from pgolf.ranks.group import Ranks
from pgolf.run_options import Lease, RunOptions
from pgolf.train import rank, train_stage
from pgolf.train.checkpoint_record import read_record
from pgolf.train.loss_table import LOSSES_FILE
from pgolf.train.rank import run
from pgolf.train.train_job import CHECKPOINT_FILE, LEDGER_FILE, LOG_FILE, Job, Ledger
from pgolf.train.train_stage import devices, make, own_cores
from tests.train.runs import TINY, learnable_tokens, with_train, write_data

# AdamW's first steps are nearly the sign of the gradient, and so pass the rounding of a table's bfloat16 gradient on at
# full size wherever that is near 0. With this eps they are in proportion to it.
SMOOTH = with_train(adam_eps=1e-2)
CPU = RunOptions(device="cpu", threads=1, log_every_steps=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("stage") / "data", [learnable_tokens(700), learnable_tokens(900, 1)])


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """The checkpoint and ledger of a one-rank run in this very process, without torchrun."""
    out = tmp_path_factory.mktemp("alone")
    threads = torch.get_num_threads()
    job = Job(config=SMOOTH, seed=7, data=data, out=out, device="cpu", threads=1, log_every_steps=2)
    try:
        run(job, Ranks(), torch.device("cpu"))
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    return out


def losses(out):
    return [loss_nats for loss_nats, _ in Ledger.model_validate_json((out / LEDGER_FILE).read_bytes()).losses]


def made_by(config, data, out, options=CPU, seed=7):
    out.mkdir()
    return make(config, {"data": data}, out, options, seed=seed)


def test_one_rank_under_torchrun_gives_the_bytes_of_the_same_run_without(data, alone, tmp_path):
    """And the stage tells what the console and the store need."""
    reports, lines = [], []
    options = RunOptions(device="cpu", threads=1, log_every_steps=2, report=reports.append)
    made = made_by(SMOOTH, data, tmp_path / "out", options)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [CHECKPOINT_FILE, LOSSES_FILE, LEDGER_FILE, LOG_FILE]
    )
    assert (tmp_path / "out" / CHECKPOINT_FILE).read_bytes() == (alone / CHECKPOINT_FILE).read_bytes()

    checkpoint = load_checkpoint(tmp_path / "out" / CHECKPOINT_FILE)
    assert checkpoint.config == TINY.model
    assert checkpoint.facts == {"seed": "7", "steps": "6", "stream_position": str(6 * 8 * 33)}
    build_model(checkpoint.config, checkpoint.state)

    assert made.facts["steps"] == 6
    assert made.facts["tokens"] == 6 * 256
    assert made.facts["train_loss_nats"] == round(losses(tmp_path / "out")[-1], 4)
    assert {"check", "launch", "init", "train", "save"} == set(made.phases_s)
    assert (reports[-1].stage, reports[-1].done, reports[-1].total, reports[-1].unit) == ("train", 6, 6, "step")
    assert reports[-1].facts["loss_nats"] == pytest.approx(losses(tmp_path / "out")[-1])
    table = pq.read_table(tmp_path / "out" / LOSSES_FILE).to_pydict()
    assert (table["step"], table["tokens"]) == ([1, 2, 3, 4, 5, 6], [256, 512, 768, 1024, 1280, 1536])
    assert table["loss_nats"] == losses(tmp_path / "out") == losses(alone)
    assert table["clock_s"] == sorted(table["clock_s"])
    assert "@progress" not in (tmp_path / "out" / LOG_FILE).read_text()
    assert lines == []


def test_a_training_needs_a_core_or_a_gpu_per_rank():
    cores = tuple(f"cpu-{i}" for i in sorted(os.sched_getaffinity(0)))
    assert devices(SMOOTH, CPU) == (cores, 1)
    assert devices(SMOOTH, replace(CPU, processes=2)) == (cores, min(2, len(cores)))


def test_a_training_by_the_clock_has_its_leased_cores_to_itself_and_on_gpus_two_a_rank(monkeypatch):
    clocked = with_train(clock_limit_s=60.0)
    assert own_cores(clocked, replace(CPU, lease=Lease(("cpu-3", "cpu-5")))) == (3, 5)
    assert own_cores(SMOOTH, replace(CPU, lease=Lease(("cpu-3", "cpu-5")))) == ()
    assert own_cores(clocked, CPU) == ()  # without leases nobody would know
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(32)))
    assert own_cores(clocked, RunOptions(lease=Lease(("gpu-a", "gpu-b")))) == (0, 8, 16, 24)


def test_the_process_that_launches_a_training_on_gpus_asks_torch_for_nothing(data, tmp_path, monkeypatch):
    """It would keep a CUDA context for as long as it lives."""
    jobs = []

    def launched(_module, job, _run, _lease, **_more):
        jobs.append(job)
        raise NonFiniteLoss("far enough")

    monkeypatch.setattr(train_stage, "devices_for", lambda _run: ("cuda", ("gpu-a",)))
    monkeypatch.setattr(train_stage, "gpu_name", lambda: "NVIDIA H100")
    monkeypatch.setattr(train_stage, "run_job", launched)
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("it asks torch"))
    (tmp_path / "scratch").mkdir()
    with pytest.raises(NonFiniteLoss, match="far enough"):
        made_by(TINY, data, tmp_path / "out", RunOptions(processes=1, scratch=tmp_path / "scratch"))
    assert (jobs[0].device, jobs[0].checkpoints.of["device"]) == ("cuda", "NVIDIA H100")


class SlowKeeper:
    """Keeps nothing, and takes its time before the first step."""

    start, losses, is_told_to_end = None, [], False

    def restore(self, state):
        time.sleep(0.3)

    def is_due(self, elapsed_s):
        return False


def test_the_training_clock_is_the_one_that_stops_the_run_and_counts_steps_alone(data, tmp_path):
    job = Job(config=TINY, seed=7, data=data, out=tmp_path, device="cpu", threads=1, log_every_steps=1)
    threads = torch.get_num_threads()
    try:
        run(job, Ranks(), torch.device("cpu"), SlowKeeper())
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    ledger = Ledger.model_validate_json((tmp_path / LEDGER_FILE).read_bytes())
    assert ledger.losses[-1][1] == round(ledger.train_clock_s, 3)
    assert ledger.train_clock_s < ledger.phases_s["train"] - 0.29


def test_a_run_by_the_clock_fills_its_seconds_with_its_last_step_and_never_before(data, tmp_path):
    reports = []
    config = with_train(steps=100_000, clock_limit_s=0.6)
    made_by(config, data, tmp_path / "out", replace(CPU, log_every_steps=1, report=reports.append))
    assert [(report.done, report.total) for report in reports] == [(0, 1)] * (len(reports) - 1) + [(1, 1)]
    assert reports[-1].facts["step"] == Ledger.model_validate_json((tmp_path / "out" / LEDGER_FILE).read_bytes()).steps


def test_two_ranks_follow_the_losses_of_one(data, alone, tmp_path):
    """The same spans in sums of another order; a table's gradient is rounded to 8 bits in each of them."""
    lines = []
    options = RunOptions(device="cpu", processes=2, threads=1, log_every_steps=2, log_line=lines.append)
    config = with_train(adam_eps=1e-2, priming_steps=1)  # priming leaves no trace
    made_by(config, data, tmp_path / "out", options)
    np.testing.assert_allclose(losses(tmp_path / "out"), losses(alone), rtol=0, atol=1e-3)
    assert [line.split("  ")[0] for line in lines if line.startswith("step")] == [f"step {n}/6" for n in (1, 2, 4, 6)]


def test_a_loss_that_is_not_finite_says_at_which_step_and_keeps_the_log_and_no_checkpoint(data, tmp_path):
    """From a checkpoint the next run would only come to the same end."""
    scratch, kept = tmp_path / "scratch", []
    scratch.mkdir()
    options = RunOptions(
        device="cpu",
        threads=1,
        scratch=scratch,
        checkpoint_every_s=1e-9,
        log_every_steps=1,
        log_line=lambda _line: kept.append(read_record(scratch)),
    )
    with pytest.raises(NonFiniteLoss, match=r"in step [4-9]; nothing of this run is kept"):
        made_by(with_train(muon_lr=3e4, steps=40), data, tmp_path / "out", options)
    assert any(kept)
    assert list(scratch.iterdir()) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == [LOG_FILE]
    log = (tmp_path / "out" / LOG_FILE).read_text()
    assert "step 1/40  loss 3.4" in log
    assert "NonFiniteLoss" in log


def test_ranks_that_cannot_share_the_spans_are_refused(data, tmp_path):
    with pytest.raises(ConfigError, match=r"3 ranks cannot share 8 spans a step evenly; use 1, 2, 4, 8 ranks"):
        made_by(TINY, data, tmp_path / "out", RunOptions(device="cpu", processes=3))


def test_a_rank_refuses_it_too_for_those_that_come_from_no_stage(data, tmp_path):
    """`torchrun train_gpt.py` may start any number; with three, two of eight spans would be left out unsaid."""
    job = Job(config=TINY, seed=7, data=data, out=tmp_path, device="cpu", threads=1, log_every_steps=1)
    with pytest.raises(ConfigError, match="3 ranks cannot share 8 spans a step evenly"):
        run(job, Ranks(0, 3), torch.device("cpu"))


def test_only_rank_0_draws_the_initial_weights_and_all_take_every_tensor_from_it(monkeypatch):
    drawn = {name: tensor.clone() for name, tensor in initial_model(TINY.model, 7).state_dict().items()}

    class SecondRank(Ranks):
        def share(self, tensor, owner):
            assert owner == 0
            tensor.copy_(next(arriving))

    arriving = iter(drawn.values())
    monkeypatch.setattr(rank, "initial_model", None)
    model = rank._shared_initial_model(TINY.model, 7, SecondRank(1, 2), torch.device("cpu"))
    assert all(torch.equal(tensor, drawn[name]) for name, tensor in model.state_dict().items())
    assert list(arriving) == []


def test_on_cuda_what_is_to_be_deterministic_gives_cublas_its_workspace_by_itself(monkeypatch):
    """Under the stage and in a bundled script alike; torch refuses the first product without."""
    chosen = []
    monkeypatch.setattr(rank, "choose_kernels", chosen.append)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "as it was")
    found = []
    monkeypatch.setattr(
        torch,
        "use_deterministic_algorithms",
        lambda on: found.append((on, os.environ.get("CUBLAS_WORKSPACE_CONFIG"))),
    )
    for deterministic in (False, True):
        rank._choose_arithmetic(torch.device("cuda"), deterministic=deterministic)
    assert chosen == 2 * [torch.device("cuda")]
    assert found == [(False, "as it was"), (True, ":4096:8")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_is_refused_where_there_is_none(data, tmp_path):
    with pytest.raises(ConfigError, match=r"requested, but there is no NVIDIA driver here .*; use --device auto"):
        made_by(TINY, data, tmp_path / "out", RunOptions(device="cuda"))


def test_a_token_id_beyond_the_vocabulary_is_refused_naming_shard_and_place(tmp_path):
    tokens = learnable_tokens(2000)
    tokens[1234] = 32
    data = write_data(tmp_path / "data", [learnable_tokens(100), tokens])
    with pytest.raises(ShardError, match=r"fineweb_train_000001.bin: token 1234 has id 32, the vocabulary ends at 31"):
        made_by(TINY, data, tmp_path / "out")


def test_rows_are_checked_in_every_shard_and_for_every_data_rank_before_anything_is_started(tmp_path):
    """Few steps of consecutive spans would never come to the second shard."""
    tokens = np.where(np.arange(2000) == 1990, 40, 1)
    data = write_data(tmp_path / "data", [learnable_tokens(1000), tokens])
    config = with_train(steps=1, batches="rows", data_ranks=2)
    with pytest.raises(ShardError, match=r"fineweb_train_000001\.bin: token 1990 has id 40, the vocabulary ends at 31"):
        made_by(config, data, tmp_path / "out")
    with pytest.raises(DataError, match=r"data rank 2 of 4 has 0 of the 2 train shards, .* \(train.data_ranks, calib"):
        made_by(with_train(steps=1, batches="rows", data_ranks=4), data, tmp_path / "out4")
    assert not list((tmp_path / "out").iterdir()) + list((tmp_path / "out4").iterdir())


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    data = write_data(tmp_path / "data", [learnable_tokens(2000)], vocab_size=64)
    with pytest.raises(ConfigError, match=r"model.vocab_size is 32, .* has 64 pieces; add --set model.vocab_size=64"):
        made_by(TINY, data, tmp_path / "out")


def test_data_for_scoring_alone_is_refused_before_anything_is_started(tmp_path):
    data = write_data(tmp_path / "data", [learnable_tokens(100)])
    (shard,) = data.rglob("fineweb_train_*.bin")
    shard.unlink()
    manifest = (data / "manifest.json").read_text()
    (data / "manifest.json").write_text(manifest.replace('"files_train": 1', '"files_train": 0'))
    with pytest.raises(
        DataError, match=r"data: holds no train shards, only 1 validation shards; training and calibration"
    ):
        made_by(TINY, data, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_without_data_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="this is not a data folder"):
        made_by(TINY, tmp_path / "data", tmp_path / "out")


def test_the_ledger_holds_the_clock_and_the_losses(alone):
    ledger = json.loads((alone / LEDGER_FILE).read_text())
    assert len(ledger["losses"]) == 6  # of every step, whatever is logged
    assert ledger["phases_s"].keys() == {"init", "train", "save"}
    assert (ledger["tokens"], ledger["stream_position"], ledger["processes"]) == (6 * 256, 6 * 8 * 33, 1)
