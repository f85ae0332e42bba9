"""The first sentence of a report: what came out, in numbers."""

from collections.abc import Sequence

from pgolf.report.amounts import spread
from pgolf.report.run_tables import RunTables
from pgolf.tables.gates import GATES


def sentence_of(runs: Sequence[RunTables]) -> str:
    """One run: its headline, its bytes and its gates. Several: the headline of each, the lowest first."""
    if len(runs) == 1:
        return _of_one(runs[0])
    said = [f"{run.run.name} {_result(run)}" for run in sorted(runs, key=_bpb)]
    return f"{'; '.join(said)}. {texts_differ(runs) or 'No test has been made of the differences.'}"


def texts_differ(runs: Sequence[RunTables]) -> str:
    """What has to be said of runs that were scored on several texts, or tokenizations of one; else nothing."""
    texts = [run.text for run in runs]
    counted = {(text.tokenization, text.bytes) if text is not None and text.is_known else None for text in texts}
    raw_texts = {text.raw_sha256 for text in texts if text is not None and text.raw_sha256}
    if len(counted) == 1 and None not in counted and len(raw_texts) < 2:
        return ""
    if all(text is not None and text.raw_sha256 for text in texts) and len(raw_texts) == 1:
        if len({text.bytes for text in texts if text is not None}) > 1:
            return (
                "They are of one text and end at other places of it: their scores are of other bytes, and compare over "
                "the documents that all of them scored wholly (`pgolf compare`)."
            )
        return "They are of one text in several tokenizations: only bits per byte compare, and no loss per token."
    return "They are not known to be of one text, so their scores cannot be compared."


# How what no gate has looked at is said.
NOT_JUDGED = "not judged"


def failed_gates(run: RunTables) -> list[str]:
    """What the headline fails, or is not judged by, in words."""
    result = run.headline[1]
    return [gate.failed for name, gate in GATES.items() if result.gate(name) is False] + [
        gate.unjudged or f"{NOT_JUDGED}: {gate.passed}" for name, gate in GATES.items() if result.gate(name) is None
    ]


def _of_one(run: RunTables) -> str:
    sizes = [row["total_bytes"] for row in run.by_seed.values() if row["total_bytes"] is not None]
    budgets = {row["budget_bytes"] for row in run.by_seed.values() if row["budget_bytes"] is not None}
    size = (
        f"at most {max(sizes):,} bytes" if len(sizes) > 1 else f"{max(sizes):,} bytes" if sizes else "size not recorded"
    )
    budget = f" of {max(budgets):,}" if len(budgets) == 1 else ""
    failed = failed_gates(run)
    gates = "every gate passed" if not failed else "; ".join(failed)
    return f"{run.run.name}: {_result(run)}, {size}{budget}, {gates}."


def _result(run: RunTables) -> str:
    label, result = run.headline
    summary = result.summary("bpb")
    seeds = f"n = {run.n}" if len(result.by_seed) > 1 else f"{run.one_seed}, so no standard deviation"
    return f"{spread(summary)} bits per byte ({label}; {seeds})"


def _bpb(run: RunTables) -> float:
    summary = run.headline[1].summary("bpb")
    return float("inf") if summary is None else summary.mean
