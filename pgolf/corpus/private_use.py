"""Private-use characters: Unicode gives them no meaning, so a program may have put them into a text as its own signs.

A text with capitals written as a sign and a small letter has other bytes than the text it was made from. What bits per
byte are of is then not known here, whatever piece of the tokenizer holds the sign.
"""

import re
from collections import Counter

import numpy as np
import numpy.typing as npt

_PRIVATE_USE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")

# Web pages hold icons of fonts that they bring along. So few are worth less than 0.05 % of the bytes; a program that
# writes signs writes them in every sentence.
_OWN_ONE_IN = 10_000

Bytes = npt.NDArray[np.int16]


def private_use(text: str) -> Counter[str]:
    """How often each private-use character stands in a text."""
    return Counter() if text.isascii() else Counter(_PRIVATE_USE.findall(text))


def spelled_private_use(byte_T: Bytes, before: int) -> Counter[str]:
    """Those spelled in bytes that end behind the first `before` tokens. byte_T: -1 for a token that is no byte."""
    found: Counter[str] = Counter()
    for length, leads in ((3, (0xEE, 0xEF)), (4, (0xF3, 0xF4))):
        first = max(before - length + 1, 0)
        starts = first + np.flatnonzero(np.isin(byte_T[first : max(byte_T.size - length + 1, 0)], leads))
        for start in starts.tolist():
            spelled = byte_T[start : start + length]
            if (spelled >= 0).all():
                found.update(private_use(bytes(spelled.tolist()).decode(errors="ignore")))
    return found


def about(found: Counter[str], of: int) -> str:
    """Why a text that holds these is not verified; empty if they are few enough to be its own. of: bytes or tokens."""
    if found.total() * _OWN_ONE_IN <= of:
        return ""
    (character, most), *_ = found.most_common(1)
    return (
        f"the text holds {found.total():,} private-use characters (U+{ord(character):04X} {most:,} times), so it may "
        "be rewritten, and the bytes of the text that it was made from are not known here"
    )
