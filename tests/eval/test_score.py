"""The score stage against a plain evaluation with full logits, and what must hold of any sliding evaluation."""

import copy
import os
import re

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.errors import ConfigError, DataError
from pgolf.eval import forward as forward_module
from pgolf.eval import scoring as scoring_module
from pgolf.eval.batch_means import read_batch_means
from pgolf.eval.bpb import bits_per_byte
from pgolf.eval.config import ScoreConfig
from pgolf.eval.in_process import device_for
from pgolf.eval.score_stage import make
from pgolf.eval.scoring import cpu_threads, window_pieces
from pgolf.eval.trace import Trace, read_trace, trace_is_causal
from pgolf.eval.ttt_config import BatchMeansConfig, TttConfig
from pgolf.eval.windows import plan_windows
from pgolf.model.checkpoint import Checkpoint, build_model, save_checkpoint
from pgolf.pack.compress_stage import make as compress
from pgolf.pack.config import CompressConfig
from pgolf.pack.load import load_packed
from pgolf.quant.threads import intra_op_threads
from pgolf.run_options import RunOptions
from tests.eval.traces import stream_for, trace_of

WINDOW, STRIDE = 24, 8
# float32 through two layers: a handful of roundings of 6e-8 on losses of about 10 nats.
SAME_NATS = 1e-5


def random_tokens(count: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(4, 340, count).astype(np.uint16)


def scored(model, tokens, *, window=WINDOW, stride=STRIDE, tail="once", batch_windows=4, threads=1) -> Trace:
    plan = plan_windows(len(tokens) - 1, window=window, stride=stride, tail=tail)
    config = ScoreConfig(window=window, stride=stride, tail=tail, batch_windows=batch_windows)
    return trace_of(window_pieces(model, stream_for(model, tokens), plan, config, threads=threads), plan)


@torch.no_grad()
def evaluated_plainly(model, tokens, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Loss and entropy of targets start+1 .. end given tokens start .. : one window, all logits, float64 softmax.

    The window is not padded: a shorter row would change the rotary base, so it is filled up with token 9 here, where
    the stage fills up with 0; neither may matter.
    """
    row = np.full(WINDOW, 9, dtype=np.int64)
    row[: end - start] = tokens[start:end]
    logits = model.logits(model.hidden(torch.from_numpy(row)[None]))[0].double()
    logp = torch.log_softmax(logits, dim=-1)[: end - start]
    following = torch.from_numpy(tokens[start + 1 : end + 1].astype(np.int64))
    losses = -logp[torch.arange(end - start), following]
    return losses.numpy(), -(logp.exp() * logp).sum(-1).numpy()


def test_scores_equal_a_plain_evaluation_window_by_window(toy_network):
    tokens = random_tokens(5 * WINDOW + 1)
    trace = scored(toy_network, tokens)
    for target, loss, entropy in zip(trace.target, trace.loss_nats, trace.entropy_nats):
        # By definition: the first window (starts are multiples of the stride) that reaches the target.
        start = max(0, -(-(int(target) - WINDOW) // STRIDE) * STRIDE)
        losses, entropies = evaluated_plainly(toy_network, tokens, start, start + WINDOW)
        assert loss == pytest.approx(losses[target - 1 - start], abs=SAME_NATS)
        assert entropy == pytest.approx(entropies[target - 1 - start], abs=SAME_NATS)


def test_every_target_is_scored_exactly_once_and_in_order(toy_network):
    tokens = random_tokens(4 * WINDOW + 1)
    assert scored(toy_network, tokens).target.tolist() == list(range(1, 4 * WINDOW + 1))


def test_repeated_tail_scores_the_last_targets_again_with_ever_less_context(toy_network):
    tokens = random_tokens(4 * WINDOW + 1)
    last = 4 * WINDOW
    once, repeat = scored(toy_network, tokens), scored(toy_network, tokens, tail="repeat")
    repeats = WINDOW // STRIDE - 1
    assert repeat.target[last:].tolist() == list(range(last - STRIDE + 1, last + 1)) * repeats
    np.testing.assert_allclose(repeat.loss_nats[:last], once.loss_nats, atol=SAME_NATS)
    for k in range(repeats):
        start = last - WINDOW + (k + 1) * STRIDE
        losses, entropies = evaluated_plainly(toy_network, tokens, start, last)
        rows = slice(last + k * STRIDE, last + (k + 1) * STRIDE)
        np.testing.assert_allclose(repeat.loss_nats[rows], losses[-STRIDE:], atol=SAME_NATS)
        np.testing.assert_allclose(repeat.entropy_nats[rows], entropies[-STRIDE:], atol=SAME_NATS)


@pytest.mark.parametrize("batch_windows", [1, 3, 64])
def test_batch_size_does_not_change_scores(toy_network, batch_windows):
    tokens = random_tokens(6 * WINDOW + 1)
    reference, other = scored(toy_network, tokens), scored(toy_network, tokens, batch_windows=batch_windows)
    np.testing.assert_allclose(other.loss_nats, reference.loss_nats, atol=SAME_NATS)
    np.testing.assert_allclose(other.entropy_nats, reference.entropy_nats, atol=SAME_NATS)


def test_number_of_threads_does_not_change_a_single_bit(toy_network):
    tokens = random_tokens(8 * WINDOW + 1)
    one, three = scored(toy_network, tokens, threads=1), scored(toy_network, tokens, threads=3)
    assert one.loss_nats.tobytes() == three.loss_nats.tobytes()
    assert one.entropy_nats.tobytes() == three.entropy_nats.tobytes()


def test_scoring_leaves_the_callers_thread_count_as_it_was(toy_network):
    with intra_op_threads(2):
        scored(toy_network, random_tokens(2 * WINDOW + 1), threads=2)
        assert torch.get_num_threads() == 2


def test_few_logits_at_a_time_give_the_same_scores(toy_network, monkeypatch):
    tokens = random_tokens(3 * WINDOW + 1)
    reference = scored(toy_network, tokens)
    monkeypatch.setattr(forward_module, "LOGITS_AT_A_TIME", {"cpu": 5 * 340})
    chunked = scored(toy_network, tokens)
    np.testing.assert_allclose(chunked.loss_nats, reference.loss_nats, atol=SAME_NATS)
    np.testing.assert_allclose(chunked.entropy_nats, reference.entropy_nats, atol=SAME_NATS)


@pytest.mark.parametrize("altered", [5, WINDOW, 2 * WINDOW + 3])
def test_altering_token_k_leaves_the_losses_before_it_and_entropies_up_to_it_unchanged(toy_network, altered):
    tokens = random_tokens(4 * WINDOW + 1)
    changed = tokens.copy()
    changed[altered] = 4 + (int(tokens[altered]) - 3) % 296
    before, after = scored(toy_network, tokens), scored(toy_network, changed)
    # Row j - 1 holds target j: the loss of target k reads token k itself, its entropy only what stands before.
    np.testing.assert_array_equal(after.loss_nats[: altered - 1], before.loss_nats[: altered - 1])
    np.testing.assert_array_equal(after.entropy_nats[:altered], before.entropy_nats[:altered])
    assert after.loss_nats[altered - 1] != before.loss_nats[altered - 1]
    assert after.entropy_nats[altered] != before.entropy_nats[altered]


def test_losses_of_all_tokens_at_a_place_are_a_distribution_of_the_recorded_entropy(toy_network):
    tokens = random_tokens(WINDOW + 1)
    losses = []
    for token in range(340):
        tokens[-1] = token
        trace = scored(toy_network, tokens)
        losses.append(trace.loss_nats[-1])
    q = np.exp(-np.array(losses, dtype=np.float64))
    assert q.sum() == pytest.approx(1.0, abs=1e-5)
    assert trace.entropy_nats[-1] == pytest.approx(-(q * np.log(q)).sum(), abs=1e-4)


@pytest.fixture
def packed_toy(toy_network, monkeypatch):
    """Stands in for the packed file: its own round trip is the business of tests/pack."""
    asked = []

    def load(path):
        asked.append(path)
        return Checkpoint(config=toy_network.config, state=toy_network.state_dict(), facts={})

    monkeypatch.setattr(scoring_module, "load_packed", load)
    return asked


def run_make(tmp_path, data, run=None, **config):
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    out.mkdir()
    config = ScoreConfig(**{"window": WINDOW, "stride": STRIDE, "batch_windows": 4, **config})
    made = make(config, {"model": tmp_path / "model", "data": data}, out, run or RunOptions(threads=2))
    return made, out / "trace.arrow"


def test_stage_reads_the_artifact_and_writes_trace_and_facts(
    tmp_path, toy_network, toy_data, toy_tokenizer, packed_toy
):
    tokens = random_tokens(5 * WINDOW + 7)
    tokens[[0, 40]] = 1
    made, path = run_make(tmp_path, toy_data(tokens))
    assert packed_toy == [tmp_path / "model" / "model.pgolf"]
    kept = tokens[: 5 * WINDOW + 1]  # whole windows only
    trace, expected = read_trace(path), scored(toy_network, kept)
    np.testing.assert_array_equal(trace.target, expected.target)
    np.testing.assert_allclose(trace.loss_nats, expected.loss_nats, atol=SAME_NATS)

    total_bytes = int(ByteTable.from_tokenizer(toy_tokenizer, vocab_size=340).target_bytes(kept).sum())
    nats = float(trace.loss_nats.astype(np.float64).sum())
    assert made.facts["targets"] == made.facts["records"] == 5 * WINDOW
    assert made.facts["bytes"] == total_bytes
    assert made.facts["windows"] == 1 + 4 * WINDOW // STRIDE
    assert made.facts["loss_nats"] == pytest.approx(nats / (5 * WINDOW), rel=1e-12)
    assert made.facts["bpb"] == pytest.approx(bits_per_byte(nats, total_bytes), rel=1e-12)
    assert set(made.phases_s) == {"load", "score"}


def test_repeated_tail_counts_its_bytes_again(tmp_path, toy_data, toy_tokenizer, packed_toy):
    tokens = random_tokens(3 * WINDOW + 1)
    made, path = run_make(tmp_path, toy_data(tokens), tail="repeat")
    lengths = ByteTable.from_tokenizer(toy_tokenizer, vocab_size=340).target_bytes(tokens)
    assert made.facts["records"] == len(read_trace(path)) == 3 * WINDOW + 2 * STRIDE
    assert made.facts["bytes"] == lengths.sum() + 2 * lengths[-STRIDE:].sum()


def test_bytes_counted_in_the_text_stand_in_for_the_table(tmp_path, toy_data, packed_toy):
    tokens = random_tokens(3 * WINDOW + 5)
    counted = np.random.default_rng(3).integers(0, 1 << 16, tokens.size)
    made, _ = run_make(tmp_path, toy_data(tokens, val_bytes=[counted]), tail="repeat")
    targets = counted[1 : 3 * WINDOW + 1]
    assert made.facts["bytes"] == targets.sum() + 2 * targets[-STRIDE:].sum()
    nats = made.facts["loss_nats"] * made.facts["records"]
    assert made.facts["bpb"] == pytest.approx(bits_per_byte(nats, made.facts["bytes"]), rel=1e-12)


def test_stage_writes_the_same_bytes_again_whatever_the_threads(tmp_path, toy_data, packed_toy):
    data = toy_data(random_tokens(5 * WINDOW + 1))
    _, one = run_make(tmp_path, data, RunOptions(threads=1))
    _, two = run_make(tmp_path, data, RunOptions(threads=3))
    assert one.read_bytes() == two.read_bytes()


def test_progress_ends_at_the_last_target(tmp_path, toy_data, packed_toy):
    heard = []
    run_make(tmp_path, toy_data(random_tokens(3 * WINDOW + 1)), RunOptions(threads=1, report=heard.append))
    assert (heard[-1].stage, heard[-1].done, heard[-1].total) == ("score", 3 * WINDOW, 3 * WINDOW)
    assert heard[-1].facts["loss_nats"] > 0


TTT = {"chunk_tokens": 2 * WINDOW, "sequence_length": WINDOW, "lr": 0.02}


@pytest.mark.parametrize(("order", "causal", "steps"), [("score_first", True, 2), ("adapt_first", False, 3)])
def test_stage_that_learns_marks_trace_and_facts_by_the_order(tmp_path, toy_data, packed_toy, order, causal, steps):
    heard = []
    run = RunOptions(threads=2, report=heard.append)
    ttt = TttConfig(order=order, epochs=1, **TTT)
    made, path = run_make(tmp_path, toy_data(random_tokens(6 * WINDOW + 1)), run, ttt=ttt)
    assert trace_is_causal(path) is made.facts["causal"] is causal
    assert made.facts["ttt_steps"] == steps
    assert set(made.phases_s) == {"load", "learn", "score"}
    assert made.phases_s["learn"] > 0
    assert heard[-1].done == heard[-1].total == 6 * WINDOW * (1 if causal else 2)
    assert len(read_trace(path)) == 6 * WINDOW


def means_by_definition(model, tokens, windows, size):
    """(positions, mean loss, mean entropy) over everything that consecutive windows read, in batches of `size`."""
    found = []
    for first in range(0, len(windows), size):
        losses, entropies = [], []
        for start in windows[first : first + size]:
            loss, entropy = evaluated_plainly(model, tokens, start, min(start + WINDOW, len(tokens) - 1))
            losses += loss.tolist()
            entropies += entropy.tolist()
        found.append((len(losses), np.mean(losses), np.mean(entropies)))
    return found


def test_batch_means_are_means_over_all_positions_of_every_ranks_batches(tmp_path, toy_network, toy_data, packed_toy):
    tokens = random_tokens(5 * WINDOW + 1)
    asked = {"chunk_tokens": 40, "ranks": 2, "windows": 3}
    _, path = run_make(tmp_path, toy_data(tokens), tail="repeat", batch_means=BatchMeansConfig(**asked))
    found = read_batch_means(path.parent / "batches.arrow")
    starts = list(range(0, 5 * WINDOW, STRIDE))
    first_scored = [0 if w == 0 else max(min(w + WINDOW, 5 * WINDOW) - STRIDE, w) for w in starts]
    expected = []
    for chunk in range(3):
        mine = [w for w, p in zip(starts, first_scored) if p // 40 == chunk]
        for rank in range(2):
            share = mine[len(mine) * rank // 2 : len(mine) * (rank + 1) // 2]
            for batch, means in enumerate(means_by_definition(toy_network, tokens, share, 3)):
                expected.append((chunk, rank, batch, starts.index(share[3 * batch]), *means))
    columns = [np.array(column) for column in zip(*expected)]
    for name, column in zip(("chunk", "rank", "batch", "first_window", "positions"), columns[:5]):
        np.testing.assert_array_equal(getattr(found, name), column)
    np.testing.assert_array_equal(found.last_window, [*found.first_window[1:], len(starts)])
    np.testing.assert_allclose(found.loss_nats, columns[5], rtol=0, atol=SAME_NATS)
    np.testing.assert_allclose(found.entropy_nats, columns[6], rtol=0, atol=SAME_NATS)


def test_asking_for_batch_means_leaves_the_scores_and_without_it_there_is_no_file(tmp_path, toy_data, packed_toy):
    data = toy_data(random_tokens(5 * WINDOW + 1))
    ttt = TttConfig(**TTT)
    _, plain = run_make(tmp_path, data, ttt=ttt)
    _, asked = run_make(tmp_path, data, ttt=ttt, batch_means=BatchMeansConfig(chunk_tokens=2 * WINDOW, ranks=2))
    assert not (plain.parent / "batches.arrow").exists()
    np.testing.assert_array_equal(read_trace(asked).target, read_trace(plain).target)
    np.testing.assert_allclose(read_trace(asked).loss_nats, read_trace(plain).loss_nats, rtol=0, atol=SAME_NATS)
    # The first chunk is scored by the network as it is, later ones by one that has learned.
    _, fixed = run_make(tmp_path, data, batch_means=BatchMeansConfig(chunk_tokens=2 * WINDOW, ranks=2))
    learned, before = (read_batch_means(path.parent / "batches.arrow").loss_nats for path in (asked, fixed))
    assert (learned[:2].tolist() == before[:2].tolist(), (learned[2:] != before[2:]).all()) == (True, True)


def test_validation_shorter_than_one_window_is_refused_in_numbers(tmp_path, toy_data, packed_toy):
    with pytest.raises(DataError, match=rf"hold {WINDOW} tokens, less than one window of {WINDOW}"):
        run_make(tmp_path, toy_data(random_tokens(WINDOW)))


def test_data_of_a_larger_vocabulary_is_refused(tmp_path, toy_data, packed_toy):
    with pytest.raises(DataError, match="vocabulary of 512, the packed network has 340"):
        run_make(tmp_path, toy_data(random_tokens(2 * WINDOW + 1), vocab_size=512))


def test_a_network_that_gives_nan_is_refused_and_named(tmp_path, toy_network, toy_data, monkeypatch):
    state = {name: tensor.clone() for name, tensor in toy_network.state_dict().items()}
    state["smear.gate"][0] = float("nan")
    broken = Checkpoint(config=toy_network.config, state=state, facts={})
    monkeypatch.setattr(scoring_module, "load_packed", lambda path: broken)
    with pytest.raises(DataError, match="check the checkpoint"):
        run_make(tmp_path, toy_data(random_tokens(2 * WINDOW + 1)))


def test_precision_chooses_the_device_and_a_contradiction_is_refused():
    assert device_for(ScoreConfig(), RunOptions()) == "cpu"
    with pytest.raises(ConfigError, match=re.escape("score.precision=bfloat16")):
        device_for(ScoreConfig(), RunOptions(device="cuda"))
    with pytest.raises(ConfigError, match=re.escape("score.precision=float32")):
        device_for(ScoreConfig(precision="bfloat16"), RunOptions(device="cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_bfloat16_without_cuda_says_what_to_do():
    with pytest.raises(ConfigError, match="computed on CUDA, but there is no NVIDIA driver here"):
        device_for(ScoreConfig(precision="bfloat16"), RunOptions())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bfloat16_on_cuda_stays_near_float32(toy_network):
    tokens = random_tokens(4 * WINDOW + 1)
    reference = scored(toy_network, tokens)
    on_gpu = scored(copy.deepcopy(toy_network).to("cuda"), tokens)
    np.testing.assert_array_equal(on_gpu.target, reference.target)
    # Eight bits of mantissa on logits of up to 30.
    assert np.mean(on_gpu.loss_nats) == pytest.approx(np.mean(reference.loss_nats), abs=0.05)


def test_threads_are_those_asked_for_or_one_per_core():
    cores = len(os.sched_getaffinity(0))
    assert (cpu_threads(5), cpu_threads(5, ranks=2)) == (5, 5)
    assert (cpu_threads(0), cpu_threads(0, ranks=2), cpu_threads(0, ranks=1000)) == (cores, max(1, cores // 2), 1)


def test_defaults_are_the_published_evaluation():
    config = ScoreConfig()
    assert (config.window, config.stride, config.batch_windows, config.tail) == (2048, 64, None, "once")


@pytest.mark.parametrize(
    "fields",
    [{"stride": 4096}, {"window": 0}, {"stride": 0}, {"batch_windows": 0}, {"tail": "twice"}, {"wndow": 2048}],
)
def test_settings_that_score_nothing_sensible_are_refused(fields):
    with pytest.raises(ValidationError):
        ScoreConfig(**fields)


def test_a_packed_file_is_scored_by_its_decoded_weights(tmp_path, toy_network, toy_data):
    checkpoint, model = tmp_path / "checkpoint", tmp_path / "model"
    checkpoint.mkdir()
    model.mkdir()
    state = toy_network.state_dict()
    save_checkpoint(checkpoint / "checkpoint.safetensors", toy_network.config, state, {"stream_position": "0"})
    config = CompressConfig(method="rtn", budget_bytes=1_000_000, fp16_max_elements=256)
    compress(config, {"checkpoint": checkpoint}, model, RunOptions(threads=1), code_bytes=0)
    tokens = random_tokens(2 * WINDOW + 1)
    _, path = run_make(tmp_path, toy_data(tokens))

    packed = load_packed(model / "model.pgolf")
    decoded = scored(build_model(packed.config, packed.state), tokens)
    trace = read_trace(path)
    np.testing.assert_allclose(trace.loss_nats, decoded.loss_nats, atol=SAME_NATS)
    # Quantized weights, not the checkpoint's.
    assert not np.allclose(trace.loss_nats, scored(toy_network, tokens).loss_nats, atol=1e-3)
