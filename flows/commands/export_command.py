"""`pgolf export`: a run as the folder that one submits, evaluated in the clean room and checked against itself."""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from flows.commands.arguments import (
    add_json,
    add_results,
    add_scorer,
    add_store,
    given_path,
    results_there,
    store_place,
    store_there,
)
from flows.commands.streams import hand_over, show, tell
from pgolf.bundle.log_lines import clock_s_in
from pgolf.compare.arms import scorer_asked
from pgolf.errors import ConfigError
from pgolf.submission.clean_room import DATA, Evaluated, evaluate
from pgolf.submission.entry import AUTHOR_FIELDS, Entry, SeedEntry, gather
from pgolf.submission.export import export, refuse_taken
from pgolf.submission.folder_files import MODEL, SCRIPT
from pgolf.submission.refusals import NON_RECORD, refusals
from pgolf.submission.reproduced import refuse_other_scores
from pgolf.submission.seed_log import seed_log

EXAMPLES = """examples:
  pgolf export demo --out submission             all seeds of a run: script, JSON, README, logs, requirements
  pgolf export no-gate --out submission --author "A. Other" --github-id another --name "Demo without gates"
  pgolf export demo --out submission --non-record              although it breaks rules, which its README names
  cd submission && SEED=42 torchrun --standalone --nproc_per_node=8 train_gpt.py
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("run", metavar="RUN", help="by name or key; several of one configuration: first,second")
    parser.add_argument("--out", type=given_path, required=True, metavar="DIR", help="a folder that is not there yet")
    add_scorer(parser)
    for field in AUTHOR_FIELDS:
        option = f"--{field.replace('_', '-')}"
        parser.add_argument(option, metavar="TEXT", help=f"`{field}` of submission.json (default: a marked gap)")
    parser.add_argument("--non-record", action="store_true", help="write it although it breaks rules, and say which")
    parser.add_argument("--with-models", action="store_true", help="put the packed models into the folder, not beside")
    parser.add_argument("--no-clean-room", action="store_true", help="do not evaluate its script in a clean room")
    add_store(parser)
    add_results(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Write the folder. Raises ConfigError with every rule that the run breaks, unless --non-record is given."""
    out = arguments.out.absolute()
    refuse_taken(out)
    store = store_there(arguments, store_place(arguments, results=arguments.results.absolute()))
    for option, place in (("--store", store.root), ("--results", arguments.results)):
        if out.parent.resolve().is_relative_to(place.resolve()):
            raise ConfigError(f"{out} is inside {option} {place}, which holds pgolf's own files; name a folder outside")
    told = {name: value for name in AUTHOR_FIELDS if (value := getattr(arguments, name))}
    with store.using(f"pgolf export {arguments.run}", tell):
        entry = gather(arguments.run, results_there(arguments), store, scorer=scorer_asked(arguments.scorer), told=told)
        _refused(arguments, entry)
        rooms = {} if arguments.no_clean_room else {one.seed: _evaluated(entry, one) for one in entry.seeds}
        logs = {one.seed: _log(entry, one, rooms.get(one.seed)) for one in entry.seeds}
        # The clock of all that the script evaluates is what counts, and what its log says.
        entry = entry.with_eval_clocks({seed: clock_s_in(log, "evaluation") for seed, log in logs.items()})
        refused = _refused(arguments, entry)
        exported = export(
            entry,
            out,
            logs=logs,
            refused=refused,
            reproduced=_reproduced(rooms),
            on=datetime.now(UTC).date(),
            with_models=arguments.with_models,
        )
    if arguments.json:
        facts = {"folder": str(exported.folder), "models": str(exported.models), "files": exported.files}
        hand_over(json.dumps(facts | {"refused": refused, "isolation": _isolation(rooms)}, indent=2))
    else:
        _show(entry, exported.folder, exported.models, exported.files, refused)
    return 0


def _refused(arguments: argparse.Namespace, entry: Entry) -> list[str]:
    """The rules that the run breaks. Raises ConfigError with all of them unless it is to be written all the same."""
    refused = refusals(entry)
    if refused and not arguments.non_record:
        raise ConfigError(
            f"{entry.arm.name} is no record, and nothing is written:",
            *(f"  - {said}" for said in refused),
            f"{NON_RECORD} writes it all the same, marked as what it is",
        )
    return refused


def _evaluated(entry: Entry, one: SeedEntry) -> Evaluated:
    """Run the script on a seed's model in the clean room. Raises ConfigError unless it gives the filed scores."""
    tell(f"seed {one.seed}: evaluating the script in the clean room")
    with tempfile.TemporaryDirectory(prefix="pgolf-") as temporary:
        folder = Path(temporary)
        (folder / SCRIPT).write_bytes(entry.script.script)
        room = evaluate(
            folder,
            entry.data,
            arguments=("eval", "--data", DATA),
            processes=one.processes,
            beside={MODEL: one.model},
        )
    if room.exit_code:
        said = room.errors.strip().splitlines()
        why = room.ended_by or (said[-1] if said else f"exit code {room.exit_code}")
        raise ConfigError(f"seed {one.seed}: the script failed in the clean room: {why}")
    if room.findings:
        raise ConfigError(f"seed {one.seed}: in the clean room the script {'; '.join(room.findings)}")
    refuse_other_scores(entry, one, room.output)
    tell(f"seed {one.seed}: the same scores to the last digit, {room.wall_s:.1f} s ({room.isolation})")
    return room


def _log(entry: Entry, one: SeedEntry, room: Evaluated | None) -> str:
    """The program's output: of the training as it was, of the evaluation as the clean room heard it."""
    return seed_log(entry.recipe, one.seed, one.artifacts, evaluation=None if room is None else room.output)


def _isolation(rooms: Mapping[int, Evaluated]) -> str | None:
    return next((room.isolation for room in rooms.values()), None)


def _reproduced(rooms: Mapping[int, Evaluated]) -> str:
    if not rooms:
        return "Nobody has run `train_gpt.py eval` on these models outside the pipeline yet."
    return (
        f"`train_gpt.py eval` gave the scores above to the last digit for all {len(rooms)} models, alone with "
        f"tokenizer and validation shards, without network or other files ({_isolation(rooms)})."
    )


def _show(entry: Entry, folder: Path, models: Path, files: Mapping[str, int], refused: Sequence[str]) -> None:
    lines = [str(folder), *(f"  {name:<24} {size:>12,} B" for name, size in files.items())]
    if models != folder:
        lines.append(f"models: {models}")
    bpb = entry.summary("bpb")
    spread = "" if bpb.std is None else f" ± {bpb.std:.4f}"
    lines.append(f"val_bpb {bpb.mean:.4f}{spread} (n = {entry.n}), {entry.total_bytes:,} B")
    lines += [f"no record: {said}" for said in refused]
    if gaps := [name for name in AUTHOR_FIELDS if name not in entry.told]:
        lines.append(f"left for you to fill in: {', '.join(gaps)} in submission.json, and what is new in README.md")
    show("\n".join(lines))
