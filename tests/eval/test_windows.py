import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgolf.errors import ConfigError, DataError
from pgolf.eval.windows import plan_windows

FULL_TARGETS = 62_021_632  # the challenge's validation set at window 2048


def windows_by_definition(targets, window, stride):
    """(start, end, first scored position) of every window, as the published evaluation loops over them."""
    rows = []
    for start in range(0, targets, stride):
        end = min(start + window, targets)
        length = end - start
        offset = 0 if start == 0 else max(length - stride, 0)
        rows.append((start, end, start + offset))
    return rows


sizes = st.tuples(st.integers(1, 400), st.integers(1, 70), st.integers(1, 70)).map(
    lambda t: (t[0], max(t[1:]), min(t[1:]))
)


@given(sizes, st.integers(1, 9))
def test_repeated_tail_is_the_published_loop(size, ranks):
    targets, window, stride = size
    plan = plan_windows(targets, window=window, stride=stride, ranks=ranks, tail="repeat")
    rows = windows_by_definition(*size)
    assert list(zip(plan.start, plan.end, plan.score_from, strict=True)) == rows
    assert plan.record_targets().tolist() == [j for _, end, first in rows for j in range(first + 1, end + 1)]
    assert plan.rank_bounds.tolist() == [len(rows) * r // ranks for r in range(ranks + 1)]


@given(sizes, st.integers(1, 9))
def test_tail_once_scores_every_target_once_in_order(size, ranks):
    targets, window, stride = size
    plan = plan_windows(targets, window=window, stride=stride, ranks=ranks)
    assert plan.record_targets().tolist() == list(range(1, targets + 1))
    assert plan.records == targets
    assert np.all(plan.score_from >= plan.start)
    assert np.all(plan.score_from < plan.end)


@given(sizes, st.integers(1, 9), st.sampled_from(["once", "repeat"]))
def test_ranks_divide_windows_and_records(size, ranks, tail):
    targets, window, stride = size
    plan = plan_windows(targets, window=window, stride=stride, ranks=ranks, tail=tail)
    assert (plan.rank_bounds[0], plan.rank_bounds[-1]) == (0, plan.windows)
    assert np.all(np.diff(plan.rank_bounds) >= 0)
    records = [k for r in range(ranks) for k in plan.records_of(r)]
    assert records == list(range(plan.records))
    for rank in range(ranks):
        own = range(*plan.rank_bounds[rank : rank + 2])
        by_segment = [j for k in own for j in range(plan.score_from[k] + 1, plan.end[k] + 1)]
        assert by_segment == plan.record_targets(own.start, own.stop).tolist()
        assert len(by_segment) == len(plan.records_of(rank))


@given(sizes, st.sampled_from(["once", "repeat"]), st.data())
def test_a_slice_of_records_has_the_targets_of_that_slice(size, tail, data):
    targets, window, stride = size
    plan = plan_windows(targets, window=window, stride=stride, ranks=2, tail=tail)
    first = data.draw(st.integers(0, plan.records))
    last = data.draw(st.integers(first, plan.records))
    assert plan.targets_of_records(first, last).tolist() == plan.record_targets().tolist()[first:last]


@given(sizes, st.integers(1, 9))
def test_tail_once_leaves_the_rank_borders_where_the_published_plan_has_them(size, ranks):
    targets, window, stride = size
    once = plan_windows(targets, window=window, stride=stride, ranks=ranks, tail="once")
    repeat = plan_windows(targets, window=window, stride=stride, ranks=ranks, tail="repeat")
    assert np.array_equal(once.rank_bounds, np.minimum(repeat.rank_bounds, once.windows))


def test_full_validation_set_has_the_published_sizes():
    repeat = plan_windows(FULL_TARGETS, window=2048, stride=64, ranks=8, tail="repeat")
    assert repeat.windows == 969_088
    assert repeat.records == 62_023_616
    assert np.diff(repeat.rank_bounds).tolist() == [121_136] * 8
    assert [len(repeat.records_of(r)) for r in range(8)] == [7_754_688] + [7_752_704] * 7
    first_window = repeat.rank_bounds[1:-1]
    assert (repeat.score_from[first_window] + 1).tolist() == [7_752_704 * r + 1_985 for r in range(1, 8)]
    assert np.count_nonzero(repeat.end == FULL_TARGETS) == 32
    once = plan_windows(FULL_TARGETS, window=2048, stride=64, ranks=8, tail="once")
    assert once.records == 62_021_632
    assert once.windows == 969_088 - 31


@pytest.mark.parametrize(("window", "stride", "ranks"), [(4, 5, 1), (4, 0, 1), (4, 2, 0)])
def test_sizes_that_would_skip_targets_are_refused(window, stride, ranks):
    with pytest.raises(ConfigError, match=f"window {window}, stride {stride}, ranks {ranks}"):
        plan_windows(10, window=window, stride=stride, ranks=ranks)


def test_an_empty_stream_is_refused():
    with pytest.raises(DataError, match="0 targets"):
        plan_windows(0, window=4, stride=2)
