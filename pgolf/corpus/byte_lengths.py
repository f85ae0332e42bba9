"""Byte length of the text behind each target token: the denominator of bits per byte.

V: table rows, the larger of the SentencePiece vocabulary and the model's. Source: openai/parameter-golf, train_gpt.py.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentencepiece

from pgolf.corpus.model_file import read_model

# SentencePiece writes a space as this character, in front of the piece that follows it.
SPACE = "\u2581"

# Positions per block: 62 M validation tokens need 62 M int64 for the result, and no temporary of that size.
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteTable:
    """Bytes per token of a tokenizer, as three arrays of length V.

    base_bytes: int16, UTF-8 bytes of the piece without its leading space; 1 for a byte piece; 0 for a control,
    unknown or unused piece and for rows above the tokenizer's vocabulary.
    leading_space: bool, the piece begins with a space. boundary: bool, a leading space after this token counts no byte
    (document start: no text precedes it).
    """

    base_bytes: npt.NDArray[np.int16]
    leading_space: npt.NDArray[np.bool_]
    boundary: npt.NDArray[np.bool_]

    @classmethod
    def from_tokenizer(cls, model: Path, *, vocab_size: int | None = None) -> "ByteTable":
        """Table of a SentencePiece .model file, padded to vocab_size rows if that is larger.

        Raises TokenizerError if the file cannot be read as a SentencePiece model.
        """
        return cls.from_processor(read_model(model), vocab_size)

    @classmethod
    def from_processor(
        cls, processor: sentencepiece.SentencePieceProcessor, vocab_size: int | None = None
    ) -> "ByteTable":
        """Table of a loaded SentencePiece model, padded to vocab_size rows if that is larger."""
        pieces = int(processor.get_piece_size())
        rows = max(pieces, vocab_size or 0)
        base_bytes = np.zeros(rows, dtype=np.int16)
        leading_space = np.zeros(rows, dtype=np.bool_)
        boundary = np.ones(rows, dtype=np.bool_)
        for token in range(pieces):
            if processor.is_control(token) or processor.is_unknown(token) or processor.is_unused(token):
                continue
            boundary[token] = False
            if processor.is_byte(token):
                base_bytes[token] = 1
                continue
            piece = processor.id_to_piece(token)
            leading_space[token] = piece.startswith(SPACE)
            base_bytes[token] = len(piece.removeprefix(SPACE).encode())
        return cls(base_bytes=base_bytes, leading_space=leading_space, boundary=boundary)

    def target_bytes(self, tokens: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Bytes of every target in tokens[1:], given the token before it: int64 [len(tokens) - 1].

        A leading space counts one byte unless the previous token is a boundary. All ids must be within the table.
        """
        targets = tokens.size - 1
        lengths = np.empty(max(targets, 0), dtype=np.int64)
        for start in range(0, targets, _BLOCK):
            block = tokens[start : min(start + _BLOCK, targets) + 1]
            spaces = self.leading_space[block[1:]] & ~self.boundary[block[:-1]]
            lengths[start : start + block.size - 1] = self.base_bytes[block[1:]] + spaces
        return lengths

    def total_bytes(self, tokens: npt.NDArray[np.integer], target_T: npt.NDArray[np.int64]) -> int:
        """Total bytes of the targets at stream positions target_T (1 or more, not empty), repeats counted."""
        first, last = int(target_T.min()), int(target_T.max())
        return int(self.target_bytes(tokens[first - 1 : last + 1])[target_T - first].sum())
