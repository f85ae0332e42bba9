"""Shards of bytes per token that come with the tokens: whether they can be those of these tokens.

There is no text to compare them with, so only what cannot be is found, where data come in: not after the training.
"""

from collections.abc import Sequence
from pathlib import Path

from pgolf.corpus.shards import read_shard
from pgolf.errors import ShardError

# A few tokens in a row may have no bytes, such as a BOS, and shards may be short.
_MOST_WITHOUT = 64


def check_byte_shards(val: Sequence[Path], val_bytes: Sequence[Path]) -> None:
    """Raise ShardError for a byte shard of another length than its val shard, or that counts no bytes at all.

    val_bytes: one per val shard, or none.
    """
    total = 0
    for path, of in zip(val_bytes, val, strict=bool(val_bytes)):
        counted, tokens = read_shard(path), read_shard(of).size
        if counted.size != tokens:
            raise ShardError(
                f"{path}: bytes of {counted.size:,} tokens, {of.name} holds {tokens:,}; get both from where they were "
                "made together"
            )
        if not counted.any() and tokens > _MOST_WITHOUT:
            raise ShardError(f"{path}: {_none_in(tokens)}")
        total += int(counted.any())
    if val_bytes and not total:
        raise ShardError(f"{val_bytes[0].parent}: {_none_in(sum(read_shard(path).size for path in val_bytes))}")


def _none_in(tokens: int) -> str:
    return (
        f"counts 0 bytes of text for {tokens:,} tokens, and no score can be per byte; get the byte shards again from "
        "where they were made"
    )
