"""The order of shuffled rows: against its definition, a published order, and what it refuses."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import write_shard
from pgolf.corpus.shuffled_rows import ShuffledRows, shuffled_rows
from pgolf.errors import DataError, ShardError
from tests.data_folder import write_data_folder
from tests.oracles.plain_rows import rows_by_definition


def written(folder: Path, shards: list) -> list[Path]:
    paths = [folder / f"{index:03d}.bin" for index in range(len(shards))]
    for path, tokens in zip(paths, shards, strict=True):
        write_shard(path, np.asarray(tokens))
    return paths


def rows_of(paths: list[Path], rank: int, ranks: int, length: int, vocab_size: int = 65_536) -> ShuffledRows:
    return ShuffledRows(paths, rank=rank, ranks=ranks, length=length, vocab_size=vocab_size)


# Sizes of the shards of the check numbers, and tokens that say where they stand.
CHECK_SIZES = [5000 + 271 * i % 700 for i in range(19)]


def check_tokens(t):
    x = (t * t * 5 + 29 * t + 3) % 1024
    return np.where(t % 89 == 0, 1, np.where(x == 1, 2, x))


def test_the_order_is_that_of_the_loader_of_1493(tmp_path):
    """Rank 3 of 8 over 19 shards, rows of 64: numbers made with the original."""
    tokens = [check_tokens(37 * i + 5 + np.arange(size)) for i, size in enumerate(CHECK_SIZES)]
    rows = rows_of(written(tmp_path, tokens), 3, 8, 64, 1024).take(0, 12)
    assert rows.shape == (12, 65)
    assert rows[:, 0].tolist() == [483, 867, 35, 227, 947, 115, 499, 179, 499, 499, 307, 115]
    assert int(rows[:, :-1].sum()) == 379_801


def test_each_shard_is_cut_once_from_a_phase_on_and_its_last_starts_are_taken_first(tmp_path):
    """Shards 3 and 11 have 79 and 80 rows; tokens are positions here, and the first bit is the shard's."""
    positions = [np.arange(size) * 2 + (index == 11) for index, size in enumerate(CHECK_SIZES)]
    rows = rows_of(written(tmp_path, positions), 3, 8, 64).take(0, 79 + 80)[:, 0]
    for bit, count, first in ((0, 79, [1267, 371, 3507]), (1, 80, [4283, 251, 1403])):
        starts = (rows[rows % 2 == bit] // 2).tolist()
        assert starts[:3] == first
        assert len(starts) == count
        assert np.diff(sorted(starts)).tolist() == [64] * (count - 1)
        assert min(starts) < 64


@pytest.mark.parametrize(
    ("sizes", "rank", "ranks", "length"),
    [
        ([100, 70, 33], 0, 1, 16),
        ([100, 70, 33, 50, 41], 1, 2, 16),
        ([17, 16, 1, 18], 0, 1, 16),  # one row, none, none, one of two
        ([300], 0, 8, 7),
        ([40, 40], 0, 1, 1),
    ],
)
def test_rows_are_those_of_the_definition_over_several_passes(tmp_path, sizes, rank, ranks, length):
    random = np.random.default_rng(0)
    shards = [random.integers(0, 1000, size) for size in sizes]
    expected = list(islice(rows_by_definition(shards, rank, ranks, length), 90))
    rows = rows_of(written(tmp_path, shards), rank, ranks, length)
    assert rows.take(0, 90).tolist() == expected
    for first, count in ((7, 5), (0, 1), (61, 29), (60, 2), (62, 0), (62, 1)):
        assert rows.take(first, count).tolist() == expected[first : first + count]
    # A reader that begins in the middle, as after a kill.
    assert rows_of(written(tmp_path, shards), rank, ranks, length).take(33, 57).tolist() == expected[33:]


def test_a_rank_without_a_row_of_its_own_is_refused(tmp_path):
    paths = written(tmp_path, [np.zeros(size, int) for size in (100, 16, 100)])
    with pytest.raises(
        DataError, match=r"data rank 3 of 4 has 0 of the 3 train shards, and needs one with a row of 17"
    ):
        rows_of(paths, 3, 4, 16)
    with pytest.raises(
        DataError, match=r"data rank 1 of 3 has 1 of the 3 train shards, of 16 tokens at most, and .* row of 17 tokens;"
    ):
        rows_of(paths, 1, 3, 16)
    rows_of(paths, 1, 3, 15)


def test_a_token_outside_the_vocabulary_is_refused_with_its_place(tmp_path):
    paths = written(tmp_path, [np.where(np.arange(40) == 35, 9, 3)])
    with pytest.raises(ShardError, match=r"000\.bin: token 35 has id 9, the vocabulary ends at 8"):
        rows_of(paths, 0, 1, 4, 9).take(0, 9)


def test_data_for_scoring_alone_has_no_rows(tmp_path):
    data = open_dataset(write_data_folder(tmp_path / "data", train=[], val=[range(50)]))
    with pytest.raises(DataError, match="holds no train shards"):
        shuffled_rows(data, rank=0, ranks=1, length=4, vocab_size=340)
