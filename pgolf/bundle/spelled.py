"""Which names the strings of a program may look up."""

import re

_NAME = re.compile(r"[A-Za-z_]\w*")


def spelled(text: str) -> list[str]:
    """The words of a string that may be names: all, but none of prose, which has blanks between them."""
    return [] if " " in text.strip() else _NAME.findall(text)
