"""What a SentencePiece .model file says of itself that the library does not tell: kinds of pieces, normalization.

The file is a protocol buffer; only its outer structure is read here. Source of the field numbers: google/sentencepiece,
src/sentencepiece_model.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_USER_DEFINED = 4


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
        """The settings of a file that SentencePiece itself can read."""
        user_defined: set[int] = set()
        trainer: dict[int, int | bytes] = {}
        normalizer: dict[int, int | bytes] = {}
        pieces = 0
        for number, value in _fields(model.read_bytes()):
            if number == 1 and isinstance(value, bytes):
                if dict(_fields(value)).get(3) == _USER_DEFINED:
                    user_defined.add(pieces)
                pieces += 1
            elif number == 2 and isinstance(value, bytes):
                trainer |= dict(_fields(value))
            elif number == 3 and isinstance(value, bytes):
                normalizer |= dict(_fields(value))
        return cls(
            user_defined=frozenset(user_defined),
            normalization=_text(normalizer.get(1)),
            dummy_prefix=bool(normalizer.get(3, 1)),
            space_mark=bool(normalizer.get(5, 1)),
            suffix=bool(trainer.get(24, 0)),
        )


def _text(value: int | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: an integer, or the bytes of text, a message or a float."""
    place = 0

    def integer() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        number, wire = divmod(integer(), 8)
        if wire == 0:
            yield number, integer()
        else:
            size = {1: 8, 5: 4}.get(wire)
            if size is None:
                assert wire == 2, f"wire type {wire} is not written any more"
                size = integer()
            yield number, message[place : place + size]
            place += size
