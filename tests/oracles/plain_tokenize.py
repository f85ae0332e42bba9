"""Tokenization from its definition: one document at a time, one list per split, cut afterwards."""

import sentencepiece


def streams_by_definition(
    processor: sentencepiece.SentencePieceProcessor, documents: list[tuple[str, bool]]
) -> dict[str, list[int]]:
    """Documents with whether they are held out → the token stream of each split: BOS and the ids of each, no EOS."""
    streams: dict[str, list[int]] = {"val": [], "train": []}
    for text, held_out in documents:
        streams["val" if held_out else "train"] += [processor.bos_id(), *processor.encode(text)]
    return streams


def cut(stream: list[int], shard_tokens: int) -> list[list[int]]:
    """Whole shards, then what is left."""
    return [stream[start : start + shard_tokens] for start in range(0, len(stream), shard_tokens)]
