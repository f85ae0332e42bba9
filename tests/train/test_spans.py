"""Which tokens a step takes."""

from itertools import islice

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import TokenStream, write_shard
from pgolf.train.batches import batches_of
from pgolf.train.config import TrainConfig
from pgolf.train.spans import SpanReader
from tests.data_folder import write_data_folder
from tests.oracles.plain_rows import rows_by_definition
from tests.train.runs import TINY

CPU = torch.device("cpu")


@pytest.fixture
def spans(tmp_path):
    """Two shards that together count up from 0, so a token is its own position; a pass is 600 tokens long."""
    paths = []
    for index, tokens in enumerate(np.split(np.arange(600), [250])):
        paths.append(tmp_path / f"{index}.bin")
        write_shard(paths[-1], tokens)
    return SpanReader(TokenStream(paths), TINY.train)


def test_spans_lie_end_to_end_and_the_last_token_of_each_is_only_a_target(spans):
    """n + 1 = 33 stream tokens a span; span 7 crosses the shard border at 250, step 2 wraps at 600."""
    for step in range(3):
        for index in range(8):
            first = (step * 8 + index) * 33
            tokens_BT, targets_BT = spans.read(step, index, CPU)
            assert tokens_BT.shape == targets_BT.shape == (2, 16)
            assert tokens_BT.flatten().tolist() == [(first + i) % 600 for i in range(32)]
            assert targets_BT.flatten().tolist() == [(first + i + 1) % 600 for i in range(32)]


def test_ids_of_the_upper_half_of_16_bits_stay_what_they_are(tmp_path):
    write_shard(tmp_path / "high.bin", np.arange(65_536 - 300, 65_536))
    tokens_BT, targets_BT = SpanReader(TokenStream([tmp_path / "high.bin"]), TINY.train).read(0, 1, CPU)
    assert tokens_BT.dtype == targets_BT.dtype == torch.int64
    assert targets_BT.flatten().tolist() == list(range(65_536 - 300 + 34, 65_536 - 300 + 66))


SHARDS = np.split(np.random.default_rng(0).integers(0, 65_536, 3000), [500, 900, 1700, 2100])


@pytest.fixture
def rows_data(tmp_path):
    folder = write_data_folder(tmp_path / "data", train=SHARDS, val=[range(50)], vocab_size=65_536)
    return open_dataset(folder)


def rows_config(**fields) -> TrainConfig:
    return TrainConfig.model_validate(dict(TINY.train) | {"tokens_per_step": 16 * 16, "batches": "rows"} | fields)


@pytest.mark.parametrize("data_ranks", [1, 2, 4])
@pytest.mark.parametrize("spans_per_step", [1, 2, 8, 16])
def test_a_step_has_the_next_rows_of_every_data_rank_however_it_is_cut(rows_data, data_ranks, spans_per_step):
    """Rank after rank in a step of 16 rows: which processes share it, and in how many parts, changes no row."""
    reader = batches_of(rows_data, rows_config(data_ranks=data_ranks, spans_per_step=spans_per_step), 65_536)
    each = 16 // data_ranks
    orders = [rows_by_definition(SHARDS, rank, data_ranks, 16) for rank in range(data_ranks)]
    for step in range(6):
        expected = [row for order in orders for row in islice(order, each)]
        parts = [reader.read(step, index, CPU) for index in range(spans_per_step)]
        tokens_BT, targets_BT = (torch.cat([part[side] for part in parts]) for side in (0, 1))
        assert tokens_BT.dtype == targets_BT.dtype == torch.int64
        assert tokens_BT.tolist() == [row[:-1] for row in expected]
        assert targets_BT.tolist() == [row[1:] for row in expected]


def test_from_any_step_on_the_rows_are_those_of_an_uninterrupted_reader(rows_data):
    """After a kill, and after priming, which reads the first steps before the first step."""
    config = rows_config(data_ranks=2)
    reader = batches_of(rows_data, config, 65_536)
    whole = [[reader.read(step, index, CPU)[0].tolist() for index in range(8)] for step in range(20)]
    for start in (0, 1, 7, 19):
        resumed = batches_of(rows_data, config, 65_536)
        for reading in (resumed, reader):
            for step in range(start, 20):
                assert [reading.read(step, index, CPU)[0].tolist() for index in range(8)] == whole[step]


def test_rows_that_data_ranks_cannot_share_are_refused():
    with pytest.raises(ValidationError, match=r"data_ranks 6 cannot bring equally many of a step's 16 rows .*ranks=2"):
        rows_config(data_ranks=6)
    TrainConfig(data_ranks=7)  # spans have none
