"""Making a table as narrow as a terminal: shorter digests and texts, then fewer columns, never a word broken in two."""

import re
from collections.abc import Sequence

GAP = "  "
CUT = "…"
# A digest, commit or key needs no more to be told from others, and every command takes its beginning.
_DIGEST_CHARACTERS = 8
_DIGEST = re.compile(r"([0-9a-f]{9,})(\+?)")
MOST_CHARACTERS = 24
# How spare a column is that only those look for who ask for everything.
NOT_LOOKED_FOR = 100


def shorter(text: str, most_characters: int) -> str:
    """A digest by its first eight digits, another text by its beginning."""
    if digest := _DIGEST.fullmatch(text):
        return digest[1][:_DIGEST_CHARACTERS] + digest[2]
    return text if len(text) <= most_characters else text[: most_characters - 1].rstrip() + CUT


def shown_columns(
    widths: Sequence[int], spare: Sequence[int], constant: Sequence[bool], width: int
) -> tuple[list[int], list[int]]:
    """The columns that fit, and those that leave, in their order; the first always stays.

    widths, spare, constant: of each column. The ones that nobody looks for leave first, then those that are alike in
    every row, then the others, the more spare ones first; of equals the last. Those that a table
    is made for, of negative spare, leave after all of these.
    """

    def leaves_late(place: int) -> tuple[bool, bool, int, int]:
        kept = spare[place] < 0
        return spare[place] < NOT_LOOKED_FOR, kept or not constant[place], -spare[place], -place

    kept = list(range(len(widths)))
    for place in sorted(kept[1:], key=leaves_late):
        if taken([widths[one] for one in kept]) <= width:
            break
        kept.remove(place)
    return kept, [place for place in range(len(widths)) if place not in kept]


def taken(widths: Sequence[int]) -> int:
    """Columns of the terminal that a row takes."""
    return sum(widths) + len(GAP) * (len(widths) - 1)
