"""Bytes of text behind the targets of a validation stream: as counted in the text, or else by the tokenizer's table."""

import numpy as np
import numpy.typing as npt

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.dataset import Dataset
from pgolf.corpus.shards import Tokens, validation_bytes


class TargetBytes:
    """Bytes of the targets of a data set's validation tokens, from the start of the stream on.

    Data whose text is not what the table counts comes with exact bytes per token (`pgolf.corpus.text_bytes`).
    """

    def __init__(self, dataset: Dataset, tokens: Tokens) -> None:
        """Raises TokenizerError for an unreadable tokenizer, ShardError for byte shards that do not fit."""
        self._tokens = tokens
        self._counted = validation_bytes(dataset)
        self._table = (
            None
            if self._counted is not None
            else ByteTable.from_tokenizer(dataset.tokenizer_model, vocab_size=dataset.vocab_size)
        )

    def total(self, target_T: npt.NDArray[np.int64]) -> int:
        """Total bytes of the targets at stream positions target_T (1 or more, not empty), repeats counted."""
        if self._table is not None:
            return self._table.total_bytes(self._tokens, target_T)
        assert self._counted is not None
        return int(self._counted[target_T].sum(dtype=np.int64))
