"""Sums by place and kind against plain loops over the tokens, and the excerpts beside them."""

import math

import numpy as np
import pytest

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.model_file import read_model
from pgolf.corpus.token_kinds import KINDS, token_kinds
from pgolf.errors import DataError
from pgolf.eval import blocks
from pgolf.eval.breakdown import break_down
from pgolf.eval.excerpts import excerpts
from pgolf.eval.trace import Trace, write_trace
from pgolf.eval.windows import plan_windows

WINDOW, STRIDE, BOS = 64, 16, 1


@pytest.fixture(scope="module")
def tokens():
    """Documents of very different lengths, the first without a BOS, one of a BOS alone."""
    draw = np.random.default_rng(3)
    lengths = [40, 1, 2, 200, 7, 130, 65, 33, 500]
    parts = [np.concatenate([[BOS], draw.integers(3, 340, length - 1)]) for length in lengths]
    return np.concatenate([draw.integers(3, 340, 20), *parts])[: 15 * WINDOW + 1].astype(np.uint16)


def traced(path, tokens, tail="once"):
    """A trace of made-up losses of the windows of the tokens."""
    plan = plan_windows(tokens.size - 1, window=WINDOW, stride=STRIDE, tail=tail)
    draw = np.random.default_rng(4)
    loss, entropy = (draw.exponential(2.0, plan.records).astype(np.float32) for _ in range(2))
    write_trace(path, [Trace(plan.record_targets(), loss, entropy)], plan=plan)
    return plan, loss, entropy


def plainly(tokens, plan, loss, entropy, table, kind_V):
    """by, label -> targets, bytes, loss, entropy: one target after the other."""
    targets = tokens.size - 1
    starts = [0, *[i for i in range(1, targets) if tokens[i] == BOS], targets]
    found = {}
    record = 0
    for window in range(plan.windows):
        for read in range(int(plan.score_from[window]), int(plan.end[window])):
            document = max(k for k in range(len(starts) - 1) if starts[k] <= read)
            size = int(table.target_bytes(tokens[read : read + 2])[0])
            values = {
                "position": read - int(plan.start[window]),
                "offset": read - starts[document],
                "length": starts[document + 1] - starts[document],
                "kind": KINDS[kind_V[tokens[read + 1]]],
            }
            for by, value in values.items():
                sums = found.setdefault((by, value), [0, 0, 0.0, 0.0])
                for place, more in enumerate((1, size, float(loss[record]), float(entropy[record]))):
                    sums[place] += more
            record += 1
    return found


@pytest.mark.parametrize("tail", ["once", "repeat"])
@pytest.mark.parametrize("block", [1 << 20, 37])
def test_the_parts_are_the_sums_of_a_plain_loop(tmp_path, monkeypatch, toy_data, tokens, tail, block):
    monkeypatch.setattr(blocks, "BLOCK_RECORDS", block)
    dataset = open_dataset(toy_data(tokens))
    plan, loss, entropy = traced(tmp_path / "trace.arrow", tokens, tail)
    table = ByteTable.from_tokenizer(dataset.tokenizer_model)
    kind_V = token_kinds(read_model(dataset.tokenizer_model), 340)
    plain = plainly(tokens, plan, loss, entropy, table, kind_V)
    parts = break_down(tmp_path / "trace.arrow", dataset)
    assert {part.by for part in parts} == {"position", "offset", "length", "kind"}
    for part in parts:
        values = [
            sums
            for (by, value), sums in plain.items()
            if by == part.by and (value == part.label if part.low is None else part.low <= value <= part.high)
        ]
        targets, size, loss_nats, entropy_nats = (sum(column) for column in zip(*values))
        assert (part.targets, part.bytes) == (targets, size)
        assert part.loss_sum_nats == pytest.approx(loss_nats, rel=1e-12)
        assert part.entropy_sum_nats == pytest.approx(entropy_nats, rel=1e-12)
    for by in ("position", "offset", "length", "kind"):
        assert sum(part.targets for part in parts if part.by == by) == plan.records


def test_bytes_counted_in_the_text_count_where_there_are_any(tmp_path, toy_data, tokens):
    counted = np.random.default_rng(5).integers(0, 9, tokens.size)
    dataset = open_dataset(toy_data(tokens, val_bytes=[counted]))
    traced(tmp_path / "trace.arrow", tokens)
    parts = break_down(tmp_path / "trace.arrow", dataset)
    assert sum(part.bytes for part in parts if part.by == "kind") == counted[1:].sum()


def test_a_trace_of_other_tokens_is_refused(tmp_path, toy_data, tokens):
    traced(tmp_path / "trace.arrow", tokens)
    with pytest.raises(DataError, match=r"is of 960 targets, .* has 896; they belong to different data"):
        break_down(tmp_path / "trace.arrow", open_dataset(toy_data(tokens[:-30])))


def test_kinds_follow_the_pieces(toy_tokenizer):
    processor = read_model(toy_tokenizer)
    kinds = token_kinds(processor, 400)
    assert len(kinds) == 400
    assert {KINDS[kinds[token]] for token in (0, 1, 2, 3, 399)} == {"special"}
    assert KINDS[kinds[processor.piece_to_id("<0x41>")]] == "single byte"
    for piece, kind in (("▁", "blank"), ("7", "digits"), (".", "punctuation and symbols"), ("x", "inside a word")):
        assert KINDS[kinds[processor.piece_to_id(piece)]] == kind
    words = [t for t in range(4, 340) if processor.id_to_piece(t).startswith("▁") and len(processor.id_to_piece(t)) > 1]
    assert words
    assert {KINDS[kinds[token]] for token in words} <= {"start of a word", "punctuation and symbols"}


def test_excerpts_are_beginnings_of_documents_with_every_tokens_own_loss(tmp_path, toy_data, tokens):
    dataset = open_dataset(toy_data(tokens))
    _, loss, _ = traced(tmp_path / "trace.arrow", tokens)
    found = excerpts(tmp_path / "trace.arrow", dataset, most=3, most_tokens=50)
    starts = [0, *np.flatnonzero(tokens[1:-1] == BOS) + 1]
    documents = sorted({token.document for token in found})
    assert len(documents) == 3
    for token in found:
        assert token.loss_nats == loss[token.target - 1]  # every target once, in order
        assert 1 <= token.target - starts[token.document] < 51
        assert (token.special == "<s>") == (tokens[token.target] == BOS)
    assert all(math.isfinite(token.loss_nats) for token in found)


def test_an_excerpt_reads_as_the_text_that_was_tokenized(tmp_path, toy_data, toy_tokenizer):
    """A character of several byte pieces comes whole, with its last byte."""
    text = "The quick brown fox, twice: “naïve” 日本 vow!"
    ids = read_model(toy_tokenizer).encode(text)
    tokens = np.array([BOS, *ids, *[5] * (WINDOW * 4 - len(ids))], np.uint16)
    traced(tmp_path / "trace.arrow", tokens)
    found = excerpts(tmp_path / "trace.arrow", open_dataset(toy_data(tokens)), most=1, most_tokens=len(ids))
    assert "".join(token.text for token in found) == read_model(toy_tokenizer).decode(ids)
    assert "日本" in "".join(token.text for token in found)


def test_a_character_that_another_token_interrupts_is_seen_to_be_cut(tmp_path, toy_data, toy_tokenizer):
    processor = read_model(toy_tokenizer)
    letter = processor.piece_to_id("x")
    tokens = np.array([BOS, processor.piece_to_id("<0xE6>"), letter, *[letter] * (WINDOW - 2)], np.uint16)
    traced(tmp_path / "trace.arrow", tokens)
    found = excerpts(tmp_path / "trace.arrow", open_dataset(toy_data(tokens)), most=1, most_tokens=3)
    assert [token.text for token in found] == ["", "\N{REPLACEMENT CHARACTER}x", "x"]
