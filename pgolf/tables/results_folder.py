"""The folder in which the result tables lie."""

from pathlib import Path

from pgolf.errors import ResultsError


def refuse_missing(results: Path, others: str = "name another folder") -> None:
    """Raise ResultsError where there is none. others: what the message says of other ones."""
    if not results.is_dir():
        raise ResultsError(f"there are no results at {results}; `pgolf run RECIPE` writes some, or {others}")
