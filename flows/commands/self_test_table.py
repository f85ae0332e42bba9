"""What `pgolf audit --self-test` prints: a line per scorer of the zoo."""

from collections.abc import Iterator, Sequence

from pgolf.audit.self_test import Row

_NAME_COLUMNS = 33


def table(rows: Sequence[Row]) -> Iterator[str]:
    """A line per scorer, at most 80 columns, and the sum at the end."""
    for kind, head in (("cheat", "convicted  by"), ("honest", "  accused  by")):
        some = [row for row in rows if row.member.kind == kind]
        if some:
            yield f"  {kind.ljust(_NAME_COLUMNS)}  {head}"
        for row in some:
            mark = "✓" if row.is_right else "✗"
            numbers = " ".join(row.by)
            if not row.failed and not row.member.can_be_found:
                numbers = f"needs {' '.join(row.member.convicted_by)}, which is not there"
            if row.inconclusive:
                numbers = f"{numbers} (undecided: {' '.join(row.inconclusive)})".strip()
            count = f"{row.failed} of {row.seeds}"
            yield f"{mark} {row.member.name[:_NAME_COLUMNS].ljust(_NAME_COLUMNS)}  {count:>9}  {numbers}"[:80].rstrip()
        yield ""
    yield _summary(rows)


def _summary(rows: Sequence[Row]) -> str:
    cheats = [row for row in rows if row.member.kind == "cheat"]
    honest = [row for row in rows if row.member.kind == "honest"]
    return (
        f"{sum(row.is_right for row in cheats)} of {len(cheats)} cheats convicted with every seed, "
        f"{sum(not row.is_right for row in honest)} of {len(honest)} honest scorers accused"
    )


def document(rows: Sequence[Row], seeds: int) -> dict[str, object]:
    """The table as one JSON document."""
    return {
        "seeds": seeds,
        "right": all(row.is_right for row in rows),
        "members": [
            {
                "name": row.member.name,
                "kind": row.member.kind,
                "family": row.member.family,
                "seeds": row.seeds,
                "failed": row.failed,
                "by": row.by,
                "inconclusive": row.inconclusive,
                "right": row.is_right,
            }
            for row in rows
        ],
    }
