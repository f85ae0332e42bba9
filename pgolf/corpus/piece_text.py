"""What a tokenizer's piece stands for in normalized text."""

import sentencepiece


def piece_text(processor: sentencepiece.SentencePieceProcessor, token: int) -> bytes:
    """The bytes of normalized text that a piece spells: one of a byte piece, else the piece in UTF-8."""
    piece = processor.id_to_piece(token)
    return bytes([int(piece[1:-1], 16)]) if processor.is_byte(token) else piece.encode()
