"""Load a SentencePiece .model file, with a clear error if it is not one."""

from pathlib import Path

import sentencepiece

from pgolf.corpus.model_proto import ModelSettings
from pgolf.errors import TokenizerError
from pgolf.store.plain_file import read_plain


def read_model(model: Path) -> sentencepiece.SentencePieceProcessor:
    """Load a .model file. Raises TokenizerError, naming the file, if it is not one."""
    try:
        content = read_plain(model)
        # SentencePiece treats empty bytes as no model given yet, and would fail only at first use.
        if not content:
            raise ValueError("the file is empty")
        ModelSettings.of(content)  # of a piece that is not UTF-8 the library cannot even say so
        return sentencepiece.SentencePieceProcessor(model_proto=content)
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error).strip()
        raise TokenizerError(f"{model}: not a readable SentencePiece model ({why})") from error
