"""The tables of docs/gpu.md, which these tests hold to what they trace."""

from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"


def table(heading: str) -> dict[str, list[str]]:
    """The cells of the table under `## heading`, by their first cell; the heading row and the rule are left out."""
    section = _PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    return {first: rest for first, *rest in rows[2:]}


def number(cell: str) -> float:
    """A number with thousands separators, whatever its unit."""
    return float(cell.split()[0].replace(",", ""))
