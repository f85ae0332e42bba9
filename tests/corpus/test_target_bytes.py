"""The bytes that scores count: from byte shards where there are some, else from the table."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.data_files import find_data
from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import validation_bytes, validation_tokens
from pgolf.corpus.target_bytes import TargetBytes
from pgolf.corpus.view import link, write_view
from pgolf.errors import DataError, ShardError

TOKENS = [1, 280, 300, 1, 290, 301, 320]
BYTES = [0, 700, 3, 2, 5, 65_535, 0]
TARGETS = np.array([5, 1, 1, 2])


def total(folder: Path) -> int:
    dataset = open_dataset(folder)
    return TargetBytes(dataset, validation_tokens(dataset, window=2)).total(TARGETS)


def test_byte_shards_count_wherever_the_stream_was_cut_each_target_as_often_as_named(
    data_folder: Callable[..., Path],
) -> None:
    folder = data_folder(val=[TOKENS[:3], TOKENS[3:]], val_bytes=[BYTES[:3], BYTES[3:]])
    assert total(folder) == sum(BYTES[target] for target in TARGETS) == 66_938


def test_without_byte_shards_the_table_counts(data_folder: Callable[..., Path], toy_tokenizer: Path) -> None:
    folder = data_folder(val=[TOKENS], tokenizer=toy_tokenizer)
    lengths = ByteTable.from_tokenizer(toy_tokenizer).target_bytes(np.array(TOKENS))
    assert validation_bytes(open_dataset(folder)) is None
    assert total(folder) == sum(lengths[target - 1] for target in TARGETS)


def test_byte_shards_of_other_tokens_are_refused(data_folder: Callable[..., Path]) -> None:
    folder = data_folder(val=[TOKENS[:3], TOKENS[3:]], val_bytes=[BYTES[:4], BYTES[4:]])
    with pytest.raises(ShardError, match=r"val_bytes_000000\.bin: bytes of 4 tokens, fineweb_val_000000\.bin holds 3"):
        total(folder)


def test_a_view_of_the_files_counts_as_the_folder_does(
    data_folder: Callable[..., Path], toy_tokenizer: Path, tmp_path: Path
) -> None:
    folder = data_folder(val=[TOKENS[:3], TOKENS[3:]], val_bytes=[BYTES[:3], BYTES[3:]], tokenizer=toy_tokenizer)
    write_view(tmp_path / "view", find_data(folder), link)
    assert total(tmp_path / "view") == total(folder)
    (manifest,) = folder.glob("manifest.json")
    manifest.unlink()  # without one, a byte shard for each token shard
    write_view(tmp_path / "bare", find_data(folder), link)
    assert total(tmp_path / "bare") == total(tmp_path / "view")
    max(folder.rglob("*_val_bytes_*.bin")).unlink()
    with pytest.raises(DataError, match="1 shards of bytes per token for 2 val shards"):
        find_data(folder)
    for path in folder.rglob("fineweb_val_0*.bin"):
        path.unlink()
    with pytest.raises(DataError, match="no validation shard"):
        find_data(folder)
