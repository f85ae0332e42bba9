"""What kind of text a token stands for, as far as its piece tells.

V: pieces of the tokenizer, or rows of the model's vocabulary if those are more.
"""

import unicodedata

import numpy as np
import numpy.typing as npt
import sentencepiece

from pgolf.corpus.byte_lengths import SPACE

# In the order in which a report shows them.
KINDS = (
    "start of a word",
    "inside a word",
    "digits",
    "punctuation and symbols",
    "blank",
    "letters mixed with others",
    "single byte",
    "special",
)
_WORD, _INSIDE, _DIGITS, _SYMBOLS, _BLANK, _MIXED, _BYTE, _SPECIAL = range(len(KINDS))


def token_kinds(processor: sentencepiece.SentencePieceProcessor, rows: int) -> npt.NDArray[np.int8]:
    """Index into KINDS of every token, int8 [V]. rows: of the model's vocabulary."""
    pieces = processor.get_piece_size()
    kinds = np.full(max(pieces, rows), _SPECIAL, np.int8)
    for token in range(pieces):
        if processor.is_byte(token):
            kinds[token] = _BYTE
        elif not (processor.is_control(token) or processor.is_unknown(token) or processor.is_unused(token)):
            kinds[token] = _kind(processor.id_to_piece(token))
    return kinds


def _kind(piece: str) -> int:
    """Of a piece of text. A mark belongs to the letter before it."""
    bare = piece.replace(SPACE, " ")
    text = bare.strip()
    if not text:
        return _BLANK
    found = {unicodedata.category(character)[0] for character in text}
    if found <= {"L", "M"}:
        return _WORD if bare[0].isspace() else _INSIDE
    if found == {"N"}:
        return _DIGITS
    return _MIXED if found & {"L", "M"} else _SYMBOLS
