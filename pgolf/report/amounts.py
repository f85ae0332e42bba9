"""Amounts as a page says them: times, means with their spread."""

from pgolf.stats.seeds import SeedSummary


def span(seconds: float) -> str:
    """0.4 s, 42 s, 3 min 05 s, 2 h 10 min, 3 d 4 h."""
    if 0 < seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s" if whole % 60 else f"{whole // 60} min"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def spread(summary: SeedSummary | None, spec: str = ".4f") -> str:
    """Mean ± std, or the mean alone of a single seed; a dash where there is none."""
    if summary is None:
        return "–"
    std = "" if summary.std is None else f" ± {summary.std:{spec}}"
    return f"{summary.mean:{spec}}{std}"
