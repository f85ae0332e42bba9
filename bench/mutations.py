"""Mutations of valid content: bytes, text and JSON made wrong in the ways that files are damaged or forged."""

import copy
import json
from collections.abc import Sequence
from random import Random
from typing import Any

_BYTES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b"\0" * 8, b"\xff" * 4, b"\xff" * 8, b"\xff" * 7 + b"\x7f")
_WORDS = (
    *("[" * 20_000, "(" * 3_000, '{"a":' * 5_000, "9" * 5_000, "1e999", "-1", "NaN", "Infinity", "1e400", "0", "null"),
    *(
        "\ud800",
        "\0",
        "\x1b[2J",
        "é",
        "..",
        "../" * 40,
        "a" * 5_000,
        "true",
        "[]",
        "{}",
        '""',
        "-0.0",
        "2.5",
        " ",
        "\n",
    ),
    *(
        "9999999999999999999999",
        "4611686018427387904",
        "1..999999999",
        "0:1:1e-9",
        "0:1e308:1e-308",
        "1,,2",
        "=",
        ",",
        "[",
    ),
    *(
        f"1..{'9' * 4_999}",
        f"{'9' * 4_400}..1",
        "(1,2)",
        "\u2028",
        "\U0010ffff",
        "nan:1:1",
        "1_000",
        "0x10",
        "1e5",
        ".5",
    ),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 10**30, 10**4_000 + 1, 0.5, -0.0, 1e300, float("inf")),
    *(float("nan"), "", "a", "\ud800", "\0", "\x1b[2J", "x" * 3_000, "../../x", "/etc/passwd", [], {}, [[]], [None]),
    *({"a": 1}, "1", "NaN", "é", "\u202e", list(range(100)), {"": {}}, "9" * 5_000, [0] * 1_000),
)


def mutated_bytes(draw: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """`content` with one to four damages: bits, bytes, lengths, pieces left out, repeated, moved or of another file."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        size = len(changed)
        at, length = draw.randrange(size + 1), draw.choice((1, 2, 4, 8, 64, 1024))
        match draw.randrange(9):
            case 0 | 1:
                if size:
                    changed[at % size] ^= 1 << draw.randrange(8)
            case 2:
                if size:
                    changed[at % size] = draw.randrange(256)
            case 3:
                piece = draw.choice(_BYTES)
                changed[at : at + len(piece)] = piece
            case 4:
                width = draw.choice((1, 2, 4, 8))
                number = draw.choice((0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, size, size - 1, size + 1))
                changed[at : at + width] = (number % 256**width).to_bytes(width, "little")
            case 5:
                del changed[at : at + length]
            case 6:
                changed[at:at] = changed[at : at + length]
            case 7:
                other = draw.choice(others)
                start = draw.randrange(len(other) + 1)
                changed[at : at + length] = other[start : start + length]
            case _:
                del changed[at:]
    return bytes(changed)


def mutated_text(draw: Random, text: str, others: Sequence[str]) -> str:
    """`text` with one to three pieces left out, repeated, or written over by words that parsers stumble on."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        at, length = draw.randrange(len(text) + 1), draw.choice((0, 1, 2, 8, 40))
        match draw.randrange(5):
            case 0 | 1:
                piece = draw.choice(_WORDS)
            case 2:
                piece = text[at : at + length] * 2
            case 3:
                piece = ""
            case _:
                piece = draw.choice(draw.choice(others).split() or [""])
        text = text[:at] + piece + text[at + length :]
    return text


def mutated_json(draw: Random, value: Any) -> Any:
    """A JSON value with one to three of its parts replaced, left out, renamed or repeated, as a new value."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 2, 3))):
        value = _with_one_change(draw, value)
    return value


def json_bytes(value: Any) -> bytes:
    """The value as JSON; lone surrogates as they are written in JSON, numbers of any length."""
    return json.dumps(value).encode()


def _with_one_change(draw: Random, value: Any) -> Any:
    if isinstance(value, dict) and value and draw.random() < 0.9:
        name = draw.choice(list(value))
        match draw.randrange(8):
            case 0:
                del value[name]
            case 1:
                value[draw.choice(("", "a", "\ud800", name + "x", name.upper(), "x" * 2_000))] = value.pop(name)
            case 2:
                value["extra"] = copy.deepcopy(draw.choice(_VALUES))
            case _:
                value[name] = _with_one_change(draw, value[name])
        return value
    if isinstance(value, list) and value and draw.random() < 0.8:
        at = draw.randrange(len(value))
        match draw.randrange(5):
            case 0:
                del value[at]
            case 1:
                value.insert(at, value[at])
            case _:
                value[at] = _with_one_change(draw, value[at])
        return value
    if isinstance(value, int) and not isinstance(value, bool) and draw.random() < 0.3:
        return draw.choice((value + 1, value - 1, value * 2, -value, value % 2**64 << 20, value % 2**64 << 40, 0.5))
    if draw.random() < 0.02:
        nested: Any = value
        for _ in range(draw.choice((50, 150, 300))):
            nested = [nested] if draw.random() < 0.5 else {"a": nested}
        return nested
    return copy.deepcopy(draw.choice(_VALUES))
