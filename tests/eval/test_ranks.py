"""The stage on 1, 2 and 3 real ranks under torchrun: the same bytes, and what a rank cannot do is said by the stage."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from pgolf.corpus.shards import stream_digest
from pgolf.errors import DataError, NonFiniteLoss
from pgolf.eval.in_process import score_in_process, score_on_joined_ranks
from pgolf.eval.pieces import merged_pieces, read_pieces
from pgolf.eval.score_stage import devices, make
from pgolf.eval.trace import STREAM_KEY, read_trace
from pgolf.eval.windows import plan_windows
from pgolf.machine.hardware import core_count
from pgolf.machine.launch import run_ranks
from pgolf.model.checkpoint import save_checkpoint
from pgolf.pack.compress_stage import make as compress
from pgolf.pack.config import CompressConfig
from pgolf.ranks.group import Ranks
from pgolf.run_options import RunOptions
from tests.arrow_files import rewrite, write_hints
from tests.eval import rank_program
from tests.eval.rank_program import CASES, STRIDE, WINDOW


def tokens_of(count, seed=3):
    tokens = np.random.default_rng(seed).integers(4, 340, count).astype(np.uint16)
    tokens[[start for start in (0, 31, 40, 90, 150) if start < count]] = 1
    return tokens


@pytest.fixture(scope="module")
def packed(tmp_path_factory, toy_network):
    checkpoint, model = tmp_path_factory.mktemp("checkpoint"), tmp_path_factory.mktemp("model")
    path = checkpoint / "checkpoint.safetensors"
    save_checkpoint(path, toy_network.config, toy_network.state_dict(), {"stream_position": "0"})
    config = CompressConfig(method="rtn", budget_bytes=1_000_000, fp16_max_elements=256)
    compress(config, {"checkpoint": checkpoint}, model, RunOptions(threads=1), code_bytes=0)
    return model


def hints_for(folder, tokens, records):
    """The role of the stage: a folder with random hints of orders 7 and 9."""
    folder.mkdir()
    zeros = np.zeros(records)
    columns = {n: (np.random.default_rng(n).integers(-1, 340, records), zeros, zeros) for n in (7, 9)}
    write_hints(folder / "hints.arrow", columns, stream_digest(tokens))
    return folder


def score(folder, config, inputs, **options):
    out = folder / f"out{len(list(folder.iterdir()))}"
    out.mkdir()
    made = make(rank_program.config_of(config), inputs, out, RunOptions(threads=1, **options))
    return made, out


@pytest.fixture(scope="module")
def inputs(packed, shared_data, tmp_path_factory):
    """The roles of the stage, with hints for the windows of the cases."""
    tokens = tokens_of(8 * WINDOW + 1)
    plan = plan_windows(8 * WINDOW, window=WINDOW, stride=STRIDE, tail="repeat")
    hints = hints_for(tmp_path_factory.mktemp("hints") / "hints", tokens, plan.records)
    return {"model": packed, "data": shared_data(tokens), "hints": hints}


@pytest.fixture(scope="module")
def by_ranks(inputs, tmp_path_factory):
    """Case -> joined pieces, by number of ranks: all cases in one launch each."""
    found = {}
    for ranks in (1, 2, 3):
        folder = tmp_path_factory.mktemp("ranks")
        roles = json.dumps({role: str(path) for role, path in inputs.items()})
        if ranks == 1:
            rank_program.score_cases(inputs, folder, Ranks(), torch.device("cpu"))
        else:
            environment = {"CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
            run_ranks(
                rank_program.__name__,
                [roles, str(folder)],
                processes=ranks,
                log_path=folder / "log",
                environment=environment,
                timeout_s=200,
            )
        found[ranks] = {name: list(merged_pieces(folder / str(i), ranks)) for i, name in enumerate(CASES)}
    return found


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_not_a_bit_depends_on_the_number_of_ranks(by_ranks, name, ranks):
    alone, together = by_ranks[1][name], by_ranks[ranks][name]
    assert [piece.first_record for piece in together] == [piece.first_record for piece in alone]
    assert [piece.mean for piece in together] == [piece.mean for piece in alone]
    assert [piece.columns.tobytes() for piece in together] == [piece.columns.tobytes() for piece in alone]
    assert len(alone) > ranks


@pytest.mark.exec
def test_the_stage_on_ranks_writes_the_files_of_the_stage_without(inputs, tmp_path):
    config = {"tail": "repeat", "batch_means": {"chunk_tokens": 48, "ranks": 2, "windows": 2}}
    alone, here = score(tmp_path, config, inputs)
    reports, logged = [], []
    options = {"report": reports.append, "log_line": logged.append}
    made, out = score(tmp_path, config, inputs, processes=2, **options)
    assert {path.name for path in here.iterdir()} == {"trace.arrow", "batches.arrow"}
    assert {path.name for path in out.iterdir()} == {"trace.arrow", "batches.arrow", "score.log"}
    for name in ("trace.arrow", "batches.arrow"):
        assert (out / name).read_bytes() == (here / name).read_bytes()
    assert made.facts == {**alone.facts, "processes": 2}
    assert made.phases_s.keys() == {"check", "load", "score", "launch", "join"}
    assert (reports[-1].stage, reports[-1].done) == ("score", reports[-1].total)
    alone_options = RunOptions(threads=1)
    assert devices(rank_program.config_of(config), alone_options)[1] == 0
    assert devices(rank_program.config_of(config), replace(alone_options, processes=2))[1] == min(2, core_count())


class OneOfTwo(Ranks):
    """A rank whose neighbour has been here, or will come."""

    def wait_for_all(self):
        pass


def test_a_rank_of_a_script_scores_its_share_and_the_first_one_joins_them(inputs, tmp_path):
    config = rank_program.config_of({"tail": "repeat", "batch_means": {"chunk_tokens": 48, "ranks": 2, "windows": 2}})
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    options = RunOptions(threads=1)
    score_in_process(config, inputs, alone, options)
    cpu = torch.device("cpu")
    score_on_joined_ranks(config, inputs, together, options, OneOfTwo(1, 2), cpu)
    assert [path.name for path in together.iterdir()] == ["pieces-1.bin"]
    score_on_joined_ranks(config, inputs, together, options, OneOfTwo(0, 2), cpu)
    records = [sum(map(len, read_pieces(together / f"pieces-{rank}.bin"))) for rank in (0, 1)]
    assert min(records) > 0.4 * sum(records)
    for name in ("trace.arrow", "batches.arrow"):
        assert (together / name).read_bytes() == (alone / name).read_bytes()


def test_a_trace_with_hints_says_which_tokens_it_is_of(tmp_path, toy_data, packed):
    tokens = tokens_of(3 * WINDOW + 9)
    kept = tokens[: 3 * WINDOW + 1]
    inputs = {"model": packed, "data": toy_data(tokens)}
    _, plain = score(tmp_path, {}, inputs)
    _, asked = score(tmp_path, {}, {**inputs, "hints": hints_for(tmp_path / "h", kept, 3 * WINDOW)})
    for folder in (plain, asked):
        with pa.ipc.open_file(str(folder / "trace.arrow")) as file:
            assert file.schema.metadata[STREAM_KEY].decode() == stream_digest(kept)
    without, found = read_trace(plain / "trace.arrow"), read_trace(asked / "trace.arrow")
    assert (list(without.hint_logp), list(found.hint_logp)) == ([], [7, 9])
    np.testing.assert_array_equal(found.loss_nats, without.loss_nats)
    np.testing.assert_array_equal(found.entropy_nats, without.entropy_nats)


UNKNOWN = {"hint_7": pa.array([0] + [340] * 71, pa.int32()), "hint_9": pa.array([0] * 72, pa.int32())}
REFUSED = {
    "another stream": ({"metadata": {STREAM_KEY: b"0123456789abcdef"}}, 72, "was made from tokens 0123456789ab, the"),
    "fewer records": ({}, 70, "has hints for 70 records, this evaluation has 72"),
    "unknown tokens": ({"columns": UNKNOWN}, 72, "has hints from 0 to 340, but tokens go from 0 to 339"),
}


@pytest.mark.parametrize(("changes", "records", "message"), REFUSED.values(), ids=REFUSED)
def test_hints_of_something_else_are_refused(tmp_path, toy_data, packed, changes, records, message):
    tokens = tokens_of(3 * WINDOW + 1)
    hints = hints_for(tmp_path / "h", tokens, records)
    rewrite(hints / "hints.arrow", **changes)
    with pytest.raises(DataError, match=message):
        score(tmp_path, {}, {"model": packed, "data": toy_data(tokens), "hints": hints})


def test_hints_without_columns_and_files_that_are_none_are_refused(tmp_path, toy_data, packed):
    inputs = {"model": packed, "data": toy_data(tokens_of(3 * WINDOW + 1)), "hints": tmp_path / "hints"}
    inputs["hints"].mkdir()
    path = inputs["hints"] / "hints.arrow"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as hints"):
        score(tmp_path, {}, inputs)
    with pa.ipc.new_file(str(path), pa.schema([("count_7", pa.int32())])):
        pass
    with pytest.raises(DataError, match=r"has columns count_7 and no hint_<order>"):
        score(tmp_path, {}, inputs)


def test_what_a_rank_can_explain_is_what_the_stage_raises(tmp_path, inputs):
    ttt = {**CASES["score first, batch means"]["ttt"], "lr": 1e38}
    with pytest.raises(NonFiniteLoss, match=r"learning chunk 1 .* lower score\.ttt\.lr \(now 1e\+38\)"):
        score(tmp_path, {"ttt": ttt, "tail": "repeat"}, inputs, processes=2)
    assert [path.name for path in next(tmp_path.glob("out*")).iterdir() if path.suffix == ".json"] == []
