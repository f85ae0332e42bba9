"""Whether what a script imports is named in its requirements.txt."""

import re
from collections.abc import Iterable

from pgolf.identity.origins import distributions_of

# The challenge's own script imports these, so its machines have them.
GIVEN = frozenset({"numpy", "torch", "sentencepiece"})


def undeclared(imports: Iterable[str], requirements: str | None) -> list[str]:
    """Distributions, each with the module that is imported of it, that are not named. imports: top-level modules."""
    named = {_plain(name) for name in declared(requirements or "")}
    missing = []
    for top in imports:
        found = distributions_of(top)
        if found and top not in GIVEN and not any(_plain(name) in named | GIVEN for name in found):
            names = " or ".join(sorted(found))
            missing.append(names if _plain(names) == _plain(top) else f"{names} (imported as {top})")
    return sorted(missing)


def declared(text: str) -> list[str]:
    """The distributions that a requirements.txt names."""
    found = (re.match(r"\s*([A-Za-z0-9][\w.-]*)", line.partition("#")[0]) for line in text.splitlines())
    return [match[1] for match in found if match]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
