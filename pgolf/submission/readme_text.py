"""`README.md` of an entry: what came out and how, by tables and configuration; what is new is left to its author."""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from pgolf.budget import CLOCK_LIMIT_S
from pgolf.model.parameter_count import parameter_count
from pgolf.submission.entry import Entry
from pgolf.submission.submission_json import gap
from pgolf.tables.how_to_run import whole_commands

# Of the recipe, what does not decide a number.
_NO_METHOD = ("name", "base", "description", "seeds", "run_name", "tags", "notes", "headline")


def readme_text(entry: Entry, *, refused: Sequence[str], reproduced: str) -> str:
    """Markdown. refused: rules that it breaks, where it is no record. reproduced: what the clean room said."""
    return "\n".join([*_lines(entry, refused, reproduced), ""])


def _lines(entry: Entry, refused: Sequence[str], reproduced: str) -> Iterator[str]:
    bpb, loss = entry.summary("bpb"), entry.summary("loss_nats")
    yield f"# {entry.told.get('name') or gap('name')}"
    yield ""
    spread = f" ± {bpb.std:.5f}" if bpb.std is not None else ""
    seeds = f"{entry.n} {'seed' if entry.n == '1' else 'seeds'}"
    yield (
        f"**val_bpb {bpb.mean:.5f}{spread}** (mean ± sample standard deviation, {seeds}; "
        f"{loss.mean:.5f} nats per token), {entry.total_bytes:,} bytes, {entry.hardware}. Scorer: {entry.arm.scorer}."
    )
    if refused:
        yield ""
        yield "**Not a record submission:**"
        yield ""
        yield from (f"- {said}" for said in refused)
    yield ""
    yield "## Results"
    yield ""
    yield from _results(entry)
    for note in entry.arm.notes:
        yield f"\n{note}."
    yield ""
    yield "## What is new"
    yield ""
    yield gap("what this submission does that none before did, and what it gains: an ablation with and without it")
    yield ""
    yield "## Method"
    yield ""
    yield from _method(entry)
    yield ""
    yield "## How to reproduce"
    yield ""
    yield from _reproduction(entry, reproduced)
    yield ""
    yield "<details><summary>All settings</summary>"
    yield ""
    yield "```json"
    yield json.dumps(_settings(entry), indent=1)
    yield "```"
    yield ""
    yield "</details>"


def _results(entry: Entry) -> Iterator[str]:
    mixed = [] if entry.is_network else ["network alone (bpb)"]
    heads = [
        *("seed", "val_loss (nats/token)", "val_bpb", *mixed, "steps", "ms/step", "model (B)", "code (B)", "total (B)"),
        *("training (s)", "evaluation (s)"),
    ]
    yield _row(heads)
    yield _row(["--:"] * len(heads))
    for one in entry.seeds:
        row = one.row
        network = [] if entry.is_network else [f"{one.network['bpb']:.8f}"]
        yield _row([
            *(str(one.seed), f"{row['loss_nats']:.8f}", f"{row['bpb']:.8f}", *network, f"{one.steps:,}"),
            *(_tenths(one.step_ms), f"{row['artifact_bytes']:,}", f"{row['code_bytes']:,}", f"{row['total_bytes']:,}"),
            *(_seconds(row["train_clock_s"]), _seconds(row["eval_clock_s"])),
        ])  # fmt: skip
    if len(entry.seeds) > 1:
        bpb, loss = entry.summary("bpb"), entry.summary("loss_nats")
        network = [] if entry.is_network else [f"{entry.summary('bpb', network=True).mean:.8f}"]
        yield _row(["mean", f"{loss.mean:.8f}", f"{bpb.mean:.8f}", *network, *[""] * 7])
        spread = [] if entry.is_network else [f"{entry.summary('bpb', network=True).std or 0:.8f}"]
        yield _row(["std", f"{loss.std or 0:.8f}", f"{bpb.std or 0:.8f}", *spread, *[""] * 7])
    lacking = {one.seed: "no result" for one in entry.arm.missing} | dict.fromkeys(entry.arm.elsewhere, "left out")
    for seed, why in sorted(lacking.items()):
        yield _row([str(seed), why, *[""] * (len(heads) - 2)])
    row = entry.first.row
    yield ""
    yield (
        f"On {row['targets']:,} targets, {row['bytes']:,} bytes of text ({row['data_name'] or 'validation text'}, "
        f"tokens {_short(row['val_sha256'])}, tokenizer {_short(row['tokenizer_sha256'])}). Training includes "
        f"calibration; both clocks have {CLOCK_LIMIT_S:g} s."
    )


def _method(entry: Entry) -> Iterator[str]:
    recipe = entry.recipe
    yield f"- **Network**: {parameter_count(recipe.model):,} parameters; {_told(recipe.model)}"
    yield f"- **Training**: {_told(recipe.train)}"
    for word, section in (("Calibration", recipe.calibrate), ("Packing", recipe.compress), ("Scoring", recipe.score)):
        if section is not None:
            yield f"- **{word}**: {_told(section)}"
    if not entry.is_network:
        yield f"- **Mixture**: {entry.arm.scorer}, declared as the headline before scoring"


def _told(section: BaseModel) -> str:
    """Its settings in their own words, without those that are off."""
    return ", ".join(_pairs(section.model_dump(mode="json"), ""))


def _pairs(settings: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _pairs(value, f"{prefix}{name}.")
        elif value not in (None, False, [], ""):
            shown = "" if value is True else f" {value if isinstance(value, str) else json.dumps(value)}"
            yield f"{prefix}{name}{shown}"


def _reproduction(entry: Entry, reproduced: str) -> Iterator[str]:
    seeds = " ".join(str(one.seed) for one in entry.seeds)
    yield "With `train_gpt.py` and what `requirements.txt` names, beside the challenge's `data` folder:"
    yield ""
    yield "```bash"
    yield "pip install -r requirements.txt"
    yield f"for SEED in {seeds}; do"
    torchrun = f"torchrun --standalone --nproc_per_node={entry.first.processes}"
    yield f"  SEED=$SEED {torchrun} train_gpt.py | tee train_seed$SEED.log"
    yield "done"
    yield "```"
    yield ""
    yield reproduced
    yield ""
    commit = entry.first.row["git_commit"]
    yield f"With pgolf{f' at commit {commit}' if commit else ''}{_with_pgolf(entry, seeds.replace(' ', ','))}"


def _with_pgolf(entry: Entry, seeds: str) -> str:
    run = entry.run
    if not run.base:
        return f": a recipe file of the settings below, and `--seeds {seeds}`."
    commands = "\n".join(whole_commands(run.recipe, run.base, run.changed, seeds))
    return f":\n\n```bash\n{commands}\n```"


def _settings(entry: Entry) -> dict[str, Any]:
    return entry.recipe.model_dump(mode="json", exclude={*_NO_METHOD}) | {
        "headline": entry.recipe.headline.model_dump()
    }


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else _tenths(value)


def _tenths(value: float) -> str:
    """To a tenth, from the digits that the JSON has: as a float 0.35 lies below itself, and would become 0.3."""
    return f"{Decimal(repr(value)):.1f}"


def _short(digest: str | None) -> str:
    return "unknown" if digest is None else digest[:12]
