"""The shard format at its edges, and the stream judged by a plain concatenation."""

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import TokenStream, read_shard, stream_digest, validation_tokens, write_shard
from pgolf.errors import DataError, ShardError


def shard_bytes(tokens: list[int], *, magic: int = 20240520, version: int = 1, count: int | None = None) -> bytes:
    """A shard written from the format's definition, or a wrong one."""
    words = [magic, version, len(tokens) if count is None else count] + [0] * 253
    return struct.pack("<256i", *words) + struct.pack(f"<{len(tokens)}H", *tokens)


def test_a_written_shard_has_exactly_the_bytes_of_the_format(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", np.array([1, 2, 65535], dtype=np.uint16))
    assert (tmp_path / "a.bin").read_bytes() == shard_bytes([1, 2, 65535])


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50))
@settings(max_examples=25, deadline=None)
def test_reading_gives_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, tokens: list[int]) -> None:
    path = tmp_path_factory.mktemp("shard") / "a.bin"
    write_shard(path, tokens)
    assert read_shard(path).tolist() == tokens
    assert read_shard(path).dtype == np.uint16


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        (b"", r"0 bytes.*1024"),
        (shard_bytes([1, 2])[:1000], r"1000 bytes.*1024"),
        (shard_bytes([1, 2], magic=7), r"magic number 7,.*20240520"),
        (shard_bytes([1, 2], version=2), r"version 2"),
        (shard_bytes([1, 2, 3])[:-2], r"1028 bytes hold 2 tokens.*counts 3.*1030"),
        (shard_bytes([1, 2, 3])[:-1], r"odd number.*counts 3"),
        (shard_bytes([1, 2, 3]) + b"\0\0", r"1032 bytes hold 4 tokens.*counts 3"),
        (shard_bytes([1, 2], count=-2), r"counts -2 tokens"),
        (shard_bytes([]), r"counts 0 tokens"),
    ],
)
def test_a_file_that_is_not_a_shard_is_refused_with_its_numbers(tmp_path: Path, content: bytes, numbers: str) -> None:
    path = tmp_path / "bad.bin"
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"bad\.bin: .*" + numbers):
        read_shard(path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"gone\.bin: shard is missing"):
        read_shard(tmp_path / "gone.bin")
    (tmp_path / "folder.bin").mkdir()
    os.mkfifo(tmp_path / "pipe.bin")
    for name in ("folder.bin", "pipe.bin"):
        with pytest.raises(ShardError, match=rf"{name}: .* again$"):
            read_shard(tmp_path / name)


def test_a_token_beyond_the_vocabulary_is_refused_with_its_place(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", [1, 5, 300, 301])
    read_shard(tmp_path / "a.bin", vocab_size=302)
    with pytest.raises(ShardError, match=r"a\.bin: token 2 has id 300, the vocabulary ends at 299"):
        read_shard(tmp_path / "a.bin", vocab_size=300)


@pytest.mark.parametrize("tokens", [[], [[1, 2]], [1.5], [-1, 2], [65536]])
def test_what_the_format_cannot_hold_is_not_written(tmp_path: Path, tokens: list[object]) -> None:
    with pytest.raises(ShardError):
        write_shard(tmp_path / "a.bin", np.array(tokens))
    assert not (tmp_path / "a.bin").exists()


@given(
    shards=st.lists(st.lists(st.integers(0, 65535), min_size=1, max_size=9), min_size=1, max_size=4),
    takes=st.lists(st.integers(0, 40), max_size=6),
    start=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_the_stream_is_the_endless_repetition_of_the_concatenated_shards(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[int]], takes: list[int], start: int
) -> None:
    folder = tmp_path_factory.mktemp("stream")
    paths = [folder / f"{index}.bin" for index in range(len(shards))]
    for path, tokens in zip(paths, shards):
        write_shard(path, tokens)
    one_pass = [token for tokens in shards for token in tokens]
    endless = one_pass * (2 + (start + sum(takes)) // len(one_pass))

    stream = TokenStream(paths)
    assert stream.pass_tokens == len(one_pass)
    stream.seek(start)
    for count in takes:
        at = stream.position
        assert stream.take(count).tolist() == endless[at : at + count]
        assert stream.position == at + count


def test_the_stream_checks_headers_at_once_and_ids_when_it_meets_them(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.bin", [1, 2, 3])
    write_shard(tmp_path / "1.bin", [4, 5, 9])
    stream = TokenStream([tmp_path / "0.bin", tmp_path / "1.bin"], vocab_size=9)
    assert stream.take(5).tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(ShardError, match=r"1\.bin: token 2 has id 9"):
        stream.take(1)
    (tmp_path / "1.bin").write_bytes(b"short")
    with pytest.raises(ShardError, match=r"1\.bin: 5 bytes"):
        TokenStream([tmp_path / "0.bin", tmp_path / "1.bin"])


@pytest.mark.parametrize(("total", "kept"), [(5, 5), (6, 5), (8, 5), (9, 9), (10, 9)])
def test_validation_is_cut_to_whole_windows_plus_one_token(
    data_folder: Callable[..., Path], total: int, kept: int
) -> None:
    tokens = list(range(10, 10 + total))
    dataset = open_dataset(data_folder(train=[[1, 2]], val=[tokens[:3], tokens[3:]]))
    assert validation_tokens(dataset, window=4).tolist() == tokens[:kept]


def test_validation_shorter_than_one_window_is_refused_with_numbers(data_folder: Callable[..., Path]) -> None:
    dataset = open_dataset(data_folder(train=[[1, 2]], val=[[1, 2, 3, 4]]))
    assert validation_tokens(dataset, window=3).size == 4
    with pytest.raises(DataError, match=r"hold 4 tokens, less than one window of 4 \+ 1"):
        validation_tokens(dataset, window=4)


def test_validation_refuses_ids_beyond_the_vocabulary(data_folder: Callable[..., Path]) -> None:
    dataset = open_dataset(data_folder(train=[[1, 2]], val=[[1, 2, 340, 4]]))
    with pytest.raises(ShardError, match="token 2 has id 340"):
        validation_tokens(dataset, window=2)


def test_the_real_validation_prefix_is_a_shard_of_348_documents(real_data: Path) -> None:
    tokens = read_shard(real_data / "fineweb/fineweb_val_prefix_sp1024.bin", vocab_size=1024)
    assert tokens.size == 400_000
    assert tokens[0] == 1
    assert int((tokens == 1).sum()) == 348


def test_the_digest_of_a_stream_is_that_of_its_tokens_bytes_wherever_it_was_cut_from(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(shard_bytes([1, 513, 65535, 7]))
    expected = hashlib.sha256(b"\x01\x00\x01\x02\xff\xff").hexdigest()
    assert stream_digest(read_shard(path)[:3]) == stream_digest(np.array([1, 513, 65535], np.uint16)) == expected
