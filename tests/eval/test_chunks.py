"""Chunks of the published evaluations, counted; and what must hold of any cut."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgolf.eval.chunks import learned_rows, shares, window_batches, window_bounds
from pgolf.eval.ttt_config import BatchMeansConfig, TttConfig
from pgolf.eval.windows import plan_windows

PUBLISHED_TARGETS = 62_021_632
PR745 = TttConfig()
PR761 = TttConfig(
    order="adapt_first", chunk_tokens=131_072, epochs=4, optimizer="adamw", lr=1e-4, lr_schedule="constant"
)


@pytest.fixture(scope="module")
def published_plan():
    return plan_windows(PUBLISHED_TARGETS, window=2048, stride=64, tail="repeat")


def test_pr745_has_1893_chunks_of_481_then_512_and_at_last_415_windows(published_plan):
    assert published_plan.windows == 969_088
    windows = np.diff(window_bounds(published_plan, 32_768))
    assert len(windows) == 1893
    assert windows[0] == 481
    assert set(windows[1:-1].tolist()) == {512}
    assert windows[-1] == 415
    assert windows.sum() == published_plan.windows


def test_pr745_learns_16_rows_after_each_chunk_but_the_last():
    rows = learned_rows(PUBLISHED_TARGETS, PR745)
    assert (len(rows), set(rows.tolist())) == (1892, {16})


def test_pr761_learns_474_chunks_of_64_rows_and_at_last_12():
    rows = learned_rows(PUBLISHED_TARGETS, PR761)
    assert len(rows) == 474
    assert set(rows[:-1].tolist()) == {64}
    assert rows[-1] == 12
    assert len(rows) * PR761.epochs == 1896


def test_pr745_ranks_score_two_batches_per_chunk_3786_in_all(published_plan):
    config = BatchMeansConfig()
    bounds = window_bounds(published_plan, config.chunk_tokens).tolist()
    batches = [
        batch
        for chunk, (first, last) in enumerate(itertools.pairwise(bounds))
        for batch in window_batches(chunk, range(first, last), ranks=config.ranks, size=config.windows)
    ]
    assert len(batches) == 8 * 3786
    assert [sum(batch.rank == rank for batch in batches) for rank in range(8)] == [3786] * 8
    # In stream order and without a gap.
    assert [batch.windows.start for batch in batches[1:]] == [batch.windows.stop for batch in batches[:-1]]
    assert (batches[0].windows.start, batches[-1].windows.stop) == (0, published_plan.windows)


def test_eight_groups_share_12_rows_by_one_and_two():
    assert np.diff(shares(64, 8)).tolist() == [8] * 8
    assert np.diff(shares(12, 8)).tolist() == [1, 2, 1, 2, 1, 2, 1, 2]
    assert np.diff(shares(3, 8)).sum() == 3


@given(
    targets=st.integers(1, 400),
    stride=st.integers(1, 12),
    more=st.integers(0, 40),
    chunk_tokens=st.integers(1, 100),
    tail=st.sampled_from(["once", "repeat"]),
)
def test_a_window_belongs_to_the_chunk_of_its_first_scored_position(targets, stride, more, chunk_tokens, tail):
    plan = plan_windows(targets, window=stride + more, stride=stride, tail=tail)
    bounds = window_bounds(plan, chunk_tokens)
    assert len(bounds) == -(-targets // chunk_tokens) + 1
    chunk_of_window = [int(plan.score_from[w]) // chunk_tokens for w in range(plan.windows)]
    assert chunk_of_window == np.repeat(np.arange(len(bounds) - 1), np.diff(bounds)).tolist()


@given(
    targets=st.integers(2, 300),
    stride=st.integers(1, 12),
    more=st.integers(0, 40),
    sequence_length=st.integers(1, 9),
    rows=st.integers(1, 9),
    tail=st.sampled_from(["once", "repeat"]),
)
def test_score_first_never_learns_a_target_that_is_still_to_be_scored(
    targets, stride, more, sequence_length, rows, tail
):
    plan = plan_windows(targets, window=stride + more, stride=stride, tail=tail)
    config = TttConfig(chunk_tokens=rows * sequence_length, sequence_length=sequence_length)
    bounds = window_bounds(plan, config.chunk_tokens)
    learned = learned_rows(targets, config)
    assert len(learned) == len(bounds) - 2
    for chunk, count in enumerate(learned.tolist()):
        last_learned_target = chunk * config.chunk_tokens + count * sequence_length
        still_to_score = plan.record_targets(int(bounds[chunk + 1]))
        assert last_learned_target < still_to_score.min(initial=targets + 1)


@pytest.mark.parametrize("order", ["score_first", "adapt_first"])
def test_rows_stay_within_the_stream(order):
    for targets in range(1, 60):
        config = TttConfig(order=order, chunk_tokens=12, sequence_length=4)
        for chunk, rows in enumerate(learned_rows(targets, config).tolist()):
            assert 1 <= rows <= 3
            assert chunk * 12 + rows * 4 <= targets
