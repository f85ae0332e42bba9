"""What a SentencePiece .model file says of itself that the library does not tell: kinds of pieces, normalization.

The file is a protocol buffer; only its outer structure is read here. Source of the field numbers: google/sentencepiece,
src/sentencepiece_model.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pgolf.errors import TokenizerError
from pgolf.store.plain_file import read_plain

_USER_DEFINED = 4
_MOST_INTEGER_BYTES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """user_defined: ids of pieces taken from the text as they are. normalization: the name of the rules.

    dummy_prefix: a space is put before every text. space_mark: spaces become U+2581. suffix: it is put behind the word.
    """

    user_defined: frozenset[int]
    normalization: str
    dummy_prefix: bool
    space_mark: bool
    suffix: bool

    @classmethod
    def read(cls, model: Path) -> "ModelSettings":
        """The settings of a file. Raises TokenizerError, naming it, if it is no SentencePiece model."""
        try:
            return cls.of(read_plain(model))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise TokenizerError(f"{model}: not a readable SentencePiece model ({why})") from error

    @classmethod
    def of(cls, content: bytes) -> "ModelSettings":
        """The settings in a file's content. Raises ValueError if it is no such message, or a piece is not UTF-8."""
        user_defined: set[int] = set()
        trainer: dict[int, int | bytes] = {}
        normalizer: dict[int, int | bytes] = {}
        pieces = 0
        for number, value in fields_of(content):
            if number == 1:
                piece = dict(fields_of(_message(value)))
                _message(piece.get(1, b"")).decode()
                if piece.get(3) == _USER_DEFINED:
                    user_defined.add(pieces)
                pieces += 1
            elif number == 2:
                trainer |= dict(fields_of(_message(value)))
            elif number == 3:
                normalizer |= dict(fields_of(_message(value)))
        return cls(
            user_defined=frozenset(user_defined),
            normalization=_text(normalizer.get(1)),
            dummy_prefix=bool(normalizer.get(3, 1)),
            space_mark=bool(normalizer.get(5, 1)),
            suffix=bool(trainer.get(24, 0)),
        )


def _text(value: int | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where a text or a message is expected")
    return value


def fields_of(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: an integer, or the bytes of text, a message or a float.

    Raises ValueError where the message ends within a field, and for fields that no program writes any more.
    """
    place = 0

    def integer() -> int:
        nonlocal place
        value = 0
        for shift in range(0, 7 * _MOST_INTEGER_BYTES, 7):
            if place >= len(message):
                raise ValueError(f"it ends at byte {place:,}, within a number")
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError(f"the number that ends at byte {place:,} has no end")

    while place < len(message):
        number, wire = divmod(integer(), 8)
        if wire == 0:
            yield number, integer()
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"field {number} is of wire type {wire}, which is not written any more")
        size = integer() if wire == 2 else {1: 8, 5: 4}[wire]
        if size > len(message) - place:
            raise ValueError(f"field {number} has {size:,} bytes, {len(message) - place:,} are left")
        yield number, message[place : place + size]
        place += size
