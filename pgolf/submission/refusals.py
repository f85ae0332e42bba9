"""Why a run may not be filed as a record: each rule that it breaks, with its number and the way out."""

from collections.abc import Iterator, Mapping
from typing import Any

from pgolf.budget import BUDGET_BYTES, CLOCK_LIMIT_S
from pgolf.identity.fingerprint import canonical_json
from pgolf.recipes.recipe import CALIBRATE, COMPRESS, TRAIN
from pgolf.submission.entry import Entry, SeedEntry
from pgolf.tables.declared_seeds import missing_notes

LEAST_SEEDS = 3
NON_RECORD = "--non-record"

# Of a stage's key, what is alike for all seeds of one configuration, whatever their inputs.
_MADE_BY = ("version", "config", "code", "tools", "hardware")

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
    seeds = [one.seed for one in entry.seeds]
    run = entry.run.command(seeds)
    if len(seeds) < LEAST_SEEDS:
        more = entry.run.command([*seeds, "…"])
        found.append(f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}, and a record takes {LEAST_SEEDS}: {more}")
    found += missing_notes(entry.arm.missing)
    if entry.arm.elsewhere:
        left = entry.arm.elsewhere
        are = ("seed", "is", "its result") if len(left) == 1 else ("seeds", "are", "their results")
        all_of_them = entry.run.command(sorted({*seeds, *left}))
        found.append(
            f"declared {are[0]} {', '.join(map(str, left))} {are[1]} left out, and other runs have {are[2]}: export a "
            f"run of all declared seeds (what is finished is reused): {all_of_them}"
        )
    found += _mixed(entry, run)
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


def _mixed(entry: Entry, run: str) -> Iterator[str]:
    """Where its seeds are not all of one: data and settings, then what made a seed's outputs, code and libraries."""
    rows = [one.row for one in entry.seeds]
    keys = max(({row[key] for row in rows} - {None} for key in ("recipe_key", "config_key")), key=len)
    if len(keys) > 1:
        yield f"the seeds are of {len(keys)} configurations: run all of them with one: {run}"
        return
    for stage in (TRAIN, CALIBRATE, COMPRESS):
        made: dict[str, list[str]] = {}
        for one in entry.seeds:
            output = one.artifacts.get(f"{stage.name}[{one.seed}]")
            by = None if output is None else {name: output.record.key.get(name) for name in _MADE_BY}
            made.setdefault(canonical_json(by), []).append(str(one.seed))
        if len(made) > 1:
            groups = " and ".join(", ".join(seeds) for seeds in made.values())
            yield f"{stage.name} of seeds {groups} has {len(made)} codes or libraries: run all by one: {run}"


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
        trained = one.output(TRAIN).path.name
        yield (
            f"{seed}: its training stopped by the clock, was killed and went on: remove {trained} from the store, and "
            f"train it again: {entry.run.command(other.seed for other in entry.seeds)}"
        )
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
    if row["audited"] is not True:
        said = "has been tried by no audit" if row["audited"] is None else "was not passed by the audit"
        yield f"{seed}: {entry.arm.scorer} {said}: {_audit_way(entry, row)}"


def _audit_way(entry: Entry, row: Mapping[str, Any]) -> str:
    """What to do about a scorer without a pass."""
    if row["audited"] is False:
        return f"{row['audit_id']} has the evidence (pgolf audit RUN shows it)"
    if entry.arm.result.gate("declared") is False:
        return "a run tries what it declares: export with --scorer network"
    return f"what is finished is reused: {entry.run.command(one.seed for one in entry.seeds)}"


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
        "audited": all(row["audited"] is True for row in rows),
        "all_declared_seeds_reported": not (entry.arm.missing or entry.arm.elsewhere),
        "headline_declared_before_scoring": entry.arm.result.standing in ("before scoring", "no choice"),
    }
