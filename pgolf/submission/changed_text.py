"""Validation shards of another text: the same tokens in another order. Who computes a score gets another."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pgolf.corpus.data_files import DataFiles
from pgolf.corpus.shards import read_shard, write_shard
from pgolf.submission.printed_scores import PrintedScore


def write_changed(data: DataFiles, folder: Path) -> DataFiles:
    """Write shards with their tokens, but for those that begin documents, in another order; the same each time.

    The bytes behind each token move with it, so counts of tokens and bytes stay.
    """
    val: list[Path] = []
    val_bytes: list[Path] = []
    begins = int(read_shard(data.val[0])[0])
    for index, path in enumerate(data.val):
        tokens = read_shard(path)
        movable = np.flatnonzero(tokens != begins)
        order = np.random.default_rng(index).permutation(movable)
        for shards, made in ((data.val, val), (data.val_bytes, val_bytes)):
            if shards:
                values = np.array(read_shard(shards[index]))
                values[movable] = values[order]
                made.append(folder / shards[index].name)
                write_shard(made[-1], values)
    return replace(data, val=tuple(val), val_bytes=tuple(val_bytes))


def not_computed(scores: tuple[PrintedScore, ...], of_changed: tuple[PrintedScore, ...]) -> list[str]:
    """Scores, as text, that a script prints of one text and of another, to all their digits."""
    again = {one.bpb_text for one in of_changed}
    return [text for text in dict.fromkeys(one.bpb_text for one in scores) if text in again]
