"""Which tokens a step takes."""

import numpy as np
import pytest
import torch

from pgolf.corpus.shards import TokenStream, write_shard
from pgolf.train.spans import SpanReader
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
