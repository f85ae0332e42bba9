"""Why a run may not be filed as a record: each rule that it breaks, with its number and the way out."""

from collections.abc import Iterator, Mapping

from pgolf.budget import BUDGET_BYTES, CLOCK_LIMIT_S
from pgolf.submission.entry import Entry, SeedEntry
from pgolf.tables.declared_seeds import missing_notes

LEAST_SEEDS = 3
NON_RECORD = "--non-record"

# Where the network alone breaks the rule as well.
_OTHER_WAY = {"normalized": "run it again", "causal": "score before learning (score.ttt.order=score_first)"}
_CLOCKS = {"train_clock_s": "training and calibration", "eval_clock_s": "the evaluation"}
_CLOCK_ADVICE = {
    "train_clock_s": "set train.clock_limit_s and train.clock_reserve_s",
    "eval_clock_s": "score with a larger score.stride, or with fewer mixtures",
}


def refusals(entry: Entry) -> list[str]:
    """A sentence for each rule; none where the run keeps all that can be checked before its script runs."""
    found = [said for one in entry.seeds for said in _of_seed(entry, one)]
    run = f"pgolf run {entry.recipe.name}"
    if len(entry.seeds) < LEAST_SEEDS:
        n = len(entry.seeds)
        found.append(f"{n} {'seed' if n == 1 else 'seeds'}, and a record takes {LEAST_SEEDS}: {run} --seeds …")
    found += missing_notes(entry.arm.missing)
    if entry.arm.elsewhere:
        seeds = ", ".join(map(str, entry.arm.elsewhere))
        runs = ",".join(run.key for run in entry.arm.runs)
        found.append(f"declared seeds {seeds} are left out, and other runs have their results: export {runs},…")
    keys = {one.row["recipe_key"] for one in entry.seeds}
    if len(keys) > 1:
        found.append(f"the seeds are of {len(keys)} configurations: run all of them with one")
    code_bytes, made_bytes = {one.row["code_bytes"] for one in entry.seeds}, len(entry.script.script)
    if code_bytes != {made_bytes}:
        counted = ", ".join(f"{size:,}" for size in sorted(code_bytes))
        found.append(f"the rows count {counted} B of code, and its script has {made_bytes:,} B today: {run}")
    standing = entry.arm.result.standing
    if standing not in ("before scoring", "no choice"):
        found.append(
            f"{entry.arm.scorer} was declared {standing or 'nobody knows when'}, and may be chosen by its score: "
            "export with --scorer network, or declare it for a text that is not scored yet"
        )
    return found


def _of_seed(entry: Entry, one: SeedEntry) -> Iterator[str]:
    row, seed = one.row, f"seed {one.seed}"
    budget_bytes = min(BUDGET_BYTES, row["budget_bytes"])
    if row["total_bytes"] > budget_bytes:
        over = row["total_bytes"] - budget_bytes
        yield f"{seed}: {row['total_bytes']:,} B, {over:,} over {budget_bytes:,}: a smaller model, or fewer bits"
    for column, what in _CLOCKS.items():
        if row[column] is None:
            yield f"{seed}: nobody has measured how long {what} took: run it again"
        elif row[column] > CLOCK_LIMIT_S:
            yield f"{seed}: {what} took {row[column]:,.1f} s of {CLOCK_LIMIT_S:g}: {_CLOCK_ADVICE[column]}"
    if row["interrupted"]:
        yield f"{seed}: its training stopped by the clock, was killed and went on: train it again"
    if row["bytes_verified"] is not True:
        yield (
            f"{seed}: nobody has verified that the {row['bytes']:,} bytes are those of the text, so bits per byte may "
            "be wrong: tokenize from documents (pgolf tokenize), or give the tokenizer that the shards were made with"
        )
    whys = {"normalized": "its probabilities do not sum to 1", "causal": "a score depends on later text"}
    for gate, what in whys.items():
        if row[gate] is not True:
            way = "export with --scorer network" if one.network[gate] is True else _OTHER_WAY[gate]
            yield f"{seed}: {entry.arm.scorer} is no code length ({what}): {way}"


def compliance(entry: Entry) -> Mapping[str, bool | str]:
    """The same rules as a submission states them."""
    rows = [one.row for one in entry.seeds]
    return {
        "ruleset": entry.arm.result.rulesets or "",
        "artifact_within_16000000_bytes": entry.total_bytes <= BUDGET_BYTES,
        "train_and_calibration_within_600_s": all((row["train_clock_s"] or 1e9) <= CLOCK_LIMIT_S for row in rows),
        "eval_within_600_s": all((row["eval_clock_s"] or 1e9) <= CLOCK_LIMIT_S for row in rows),
        "normalized": all(row["normalized"] is True for row in rows),
        "causal": all(row["causal"] is True for row in rows),
        "bytes_verified": all(row["bytes_verified"] is True for row in rows),
        "all_declared_seeds_reported": not (entry.arm.missing or entry.arm.elsewhere),
        "headline_declared_before_scoring": entry.arm.result.standing in ("before scoring", "no choice"),
    }
