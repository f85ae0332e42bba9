"""Reading a SentencePiece .model file."""

from pathlib import Path

import sentencepiece

from pgolf.errors import TokenizerError


def read_model(model: Path) -> sentencepiece.SentencePieceProcessor:
    """Load a .model file; TokenizerError naming it when it is not one."""
    try:
        content = model.read_bytes()
        # SentencePiece takes no bytes for a model it has not been given yet, and fails at the first use only.
        if not content:
            raise TokenizerError(f"{model}: not a readable SentencePiece model (the file is empty)")
        return sentencepiece.SentencePieceProcessor(model_proto=content)
    except (OSError, RuntimeError) as error:
        raise TokenizerError(f"{model}: not a readable SentencePiece model ({str(error).strip()})") from error
