"""Load a SentencePiece .model file, with a clear error if it is not one."""

from pathlib import Path

import sentencepiece

from pgolf.errors import TokenizerError


def read_model(model: Path) -> sentencepiece.SentencePieceProcessor:
    """Load a .model file. Raises TokenizerError, naming the file, if it is not one."""
    try:
        content = model.read_bytes()
        # SentencePiece treats empty bytes as no model given yet, and would fail only at first use.
        if not content:
            raise TokenizerError(f"{model}: not a readable SentencePiece model (the file is empty)")
        return sentencepiece.SentencePieceProcessor(model_proto=content)
    except (OSError, RuntimeError) as error:
        raise TokenizerError(f"{model}: not a readable SentencePiece model ({str(error).strip()})") from error
