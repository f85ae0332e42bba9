"""`pgolf audit`: whether a scorer's numbers are a code length, found by its behaviour alone."""

import argparse
import json
import math
import secrets
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from flows.commands.arguments import results_there, terminal_width
from flows.commands.audit_options import AuditOptions
from flows.commands.made_besides import workshop
from flows.commands.self_test_table import document, table
from flows.commands.streams import hand_over, show, tell
from flows.commands.verdict_lines import EXIT_CODES, MARKS, counted, verdict_lines, wrapped
from pgolf.audit import (
    byte_count_check,
    clocks_check,
    seeds_check,
    self_containment_check,
    shipped_bytes_check,
    submission_folder_check,
)
from pgolf.audit.audit import Audit, audit
from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.effort import EFFORTS
from pgolf.audit.program_process import Limits
from pgolf.audit.ruleset import Ruleset, ruleset
from pgolf.audit.self_containment_check import of_room
from pgolf.audit.self_test import ZOO, load_zoo, self_test
from pgolf.audit.submitted import Submitted, submitted
from pgolf.audit.tried_program import (
    DEFAULT_TARGETS,
    TriedProgram,
    declared_by,
    shard_text,
    train_shards,
    tried_program,
)
from pgolf.audit.verdict import Outcome, Verdict, by_number
from pgolf.errors import ConfigError
from pgolf.pipeline.run_report import write_page
from pgolf.pipeline.tried_run import Asked, tried_run
from pgolf.recipes.recipe import Effort
from pgolf.report.audit_page import audit_page

OF_DOSSIER: tuple[DossierCheck, ...] = (
    self_containment_check.CHECK,
    byte_count_check.CHECK,
    shipped_bytes_check.CHECK,
    clocks_check.CHECK,
    seeds_check.CHECK,
    submission_folder_check.CHECK,
)

# Of several scorers, only what decides is shown.
TELLING = ("fail", "inconclusive")
WIDE = 80
# From which a program's is drawn: too many for it to prepare for each.
_SEEDS = 2**48

EXAMPLES = """examples:
  pgolf audit demo                           scorers of a finished run, one of each kind
  pgolf audit demo --scorer network --thorough
  pgolf audit --self-test                    the audit itself: known cheats and honest scorers, 20 texts each
  pgolf audit --self-test --zoo DIR --seeds 5    scorers of your own, a file each (docs/audit.md)
  pgolf audit --exec "python their_eval.py" --tokens DATA_DIR
  pgolf audit --exec "./scorer model.bin" --folder theirs --tokens val.bin --tokenizer sp1024.model --thorough
  pgolf audit --exec "python eval.py" --folder submission --tokens DATA_DIR --ruleset strict-code-bytes
  pgolf audit --exec "python eval.py" --folder submission --tokens DATA_DIR --of-seed 42 --whole-text
  pgolf audit --exec "python eval.py" --tokens DATA_DIR --train-shards SHARDS_DIR --reported-bpb 1.0565

What the program reads and answers: docs/audit_protocol.md. Exit codes: 0 every check passes or does not apply, 1 one
fails, 2 misuse, 3 none fails and one could not decide.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.set_defaults(options=AuditOptions(parser))


def execute(arguments: argparse.Namespace) -> int:
    """Print the verdicts; progress on stderr. Raises ConfigError for what cannot be tried."""
    arguments.options.settle(arguments)
    if arguments.self_test:
        return _self_test(arguments)
    rules = ruleset(arguments.ruleset)
    if arguments.seed is None:
        # A program that knows what will be asked can be honest there, and there alone.
        arguments.seed = 0 if arguments.program is None else secrets.randbelow(_SEEDS)
    if arguments.seed < 0:
        raise ConfigError(f"--seed is at least 0, got {arguments.seed}")
    if arguments.targets is not None and arguments.targets < 1:
        raise ConfigError(f"--targets is at least 1, got {arguments.targets}")
    return _run(arguments, rules) if arguments.program is None else _program(arguments, rules)


def _program(arguments: argparse.Namespace, rules: Ruleset) -> int:
    if arguments.tokens is None:
        raise ConfigError("--exec takes the tokens to try the program on: --tokens FILE_OR_DIR")
    for name in ("start_s", "answer_s", "evaluation_s"):
        if not (math.isfinite(value := getattr(arguments, name)) and value > 0):
            raise ConfigError(f"--{name.replace('_', '-')} takes a number above 0, got {value:g}")
    if arguments.piece_targets is not None and arguments.piece_targets < 1:
        raise ConfigError(f"--piece-targets is at least 1, got {arguments.piece_targets}")
    try:
        words = shlex.split(arguments.program)
    except ValueError as error:
        raise ConfigError(f"--exec {arguments.program}: {error}") from None
    declared = declared_by(arguments.declare)
    told = _submitted(arguments)
    trained_on = () if arguments.train_shards is None else train_shards(arguments.train_shards)
    text = shard_text(arguments.tokens, arguments.tokenizer, targets=arguments.targets or DEFAULT_TARGETS)
    began_s = time.monotonic()
    if arguments.whole_text:
        tell(f"scoring all {text.whole.targets:,} targets, at most {arguments.evaluation_s:,.0f} s")
    with tried_program(
        words,
        text,
        folder=arguments.folder or Path(),
        declared=declared,
        shown=arguments.show,
        limits=Limits(start_s=arguments.start_s, answer_s=arguments.answer_s, evaluation_s=arguments.evaluation_s),
        piece_targets=arguments.piece_targets,
        reported=told.about(text.whole),
        trained_on=trained_on,
        score_whole=arguments.whole_text,
    ) as tried:
        for path in tried.hidden:
            tell(f"{path} holds the text, so the program does not find it")
        found = audit(
            tried.subject,
            text.text,
            effort=EFFORTS[_effort(arguments)],
            seed=arguments.seed,
            listen=lambda verdict: tell(
                f"{verdict.number} {verdict.name}: {verdict.outcome}, {verdict.cost.wall_s:.1f} s"
            ),
        )
        dossier = Dossier(folder=told.findings, folder_seeds=told.seeds, room=of_room(tried.scorer))
        verdicts = by_number((*found.verdicts, *(check.verdict(dossier) for check in OF_DOSSIER)))
        outcome = rules.outcome(verdicts, record=told.is_record)
        _show(arguments, found, verdicts, tried, rules, outcome, time.monotonic() - began_s)
    return EXIT_CODES[outcome]


def _submitted(arguments: argparse.Namespace) -> Submitted:
    """What the folder says, if it was named: whatever lies in the current one is no submission by that alone."""
    if arguments.folder is None and arguments.of_seed is not None:
        raise ConfigError(f"--of-seed {arguments.of_seed} is of a submission; name its folder with --folder DIR")
    if arguments.folder is not None and not arguments.folder.is_dir():
        raise ConfigError(f"{arguments.folder} is no folder")
    told = Submitted() if arguments.folder is None else submitted(arguments.folder, seed=arguments.of_seed)
    told = told.with_numbers(bpb=arguments.reported_bpb, loss_nats=arguments.reported_loss, size_bytes=arguments.bytes)
    if arguments.whole_text and len(told.of_seeds) > 1:
        raise ConfigError(
            f"{arguments.folder} reports the mean of seeds {', '.join(map(str, told.of_seeds))}, and --whole-text "
            "scores one model; say with --of-seed N of which seed it is"
        )
    return told


def _effort(arguments: argparse.Namespace) -> Effort:
    if arguments.quick and arguments.thorough:
        raise ConfigError("--quick asks few questions and --thorough many; leave one of the two out")
    return "quick" if arguments.quick else "thorough" if arguments.thorough else "default"


def _self_test(arguments: argparse.Namespace) -> int:
    """Print a line per scorer; 1 if a cheat went free or an honest scorer was accused."""
    if arguments.seeds < 1:
        raise ConfigError(f"--seeds is at least 1, got {arguments.seeds}")
    members = load_zoo(arguments.zoo or ZOO)

    def progress(done: int, of: int) -> None:
        if done % len(members) == 0 or done == of:
            tell(f"{done:,} of {of:,} trials")

    rows = self_test(members, arguments.seeds, effort=EFFORTS[_effort(arguments)], progress=progress)
    if arguments.json:
        hand_over(json.dumps(document(rows, arguments.seeds), indent=2, ensure_ascii=False))
    else:
        for line in table(rows):
            show(line)
    return int(not all(row.is_right for row in rows))


def _show(
    arguments: argparse.Namespace,
    found: Audit,
    verdicts: Sequence[Verdict],
    tried: TriedProgram,
    rules: Ruleset,
    outcome: Outcome,
    wall_s: float,
) -> None:
    trial = {"name": found.name, "outcome": outcome, "verdicts": [verdict.to_json() for verdict in verdicts]}
    text = f"{found.targets:,} targets of {found.vocab_size:,} tokens"
    if arguments.page is not None:
        facts = {"text": text, "rules": rules.label, "room": tried.scorer.isolation}
        write_page(arguments.page, audit_page([trial], facts=facts), option="--page")
    if arguments.json:
        document = {
            "outcome": outcome,
            "program": found.name,
            "ruleset": rules.name,
            "ruleset_dated": f"{rules.dated}",
            "isolation": tried.scorer.isolation,
            "starts": tried.scorer.starts,
            "targets": found.targets,
            "vocab_size": found.vocab_size,
            "seed": found.seed,
            "wall_s": round(wall_s, 1),
            "verdicts": trial["verdicts"],
        }
        hand_over(json.dumps(document, indent=2))
        return
    width = terminal_width()
    for line in verdict_lines(verdicts, width):
        show(line)
    summary = (
        f"{outcome} by {rules.label}: {counted(verdicts)}; {text}, seed {found.seed}, {tried.scorer.starts} "
        f"starts in {wall_s:,.0f} s, in {tried.scorer.isolation}"
    )
    for line in wrapped(summary, width):
        show(line)


def _run(arguments: argparse.Namespace, rules: Ruleset) -> int:
    if arguments.all and arguments.scorer is not None:
        raise ConfigError("--all tries every scorer and --scorer one of them; leave one of the two out")
    arguments.results = results_there(arguments)
    if arguments.longest_row is not None and arguments.longest_row < 2:
        raise ConfigError(f"--longest-row is at least 2, got {arguments.longest_row}")
    asked = Asked(
        run=arguments.run,
        scorer=arguments.scorer,
        every=arguments.all,
        of_seed=arguments.of_seed,
        targets=arguments.targets or 0,
        longest_row=arguments.longest_row,
        seed=arguments.seed,
        effort=_effort(arguments),
        trained_on=() if arguments.train_shards is None else train_shards(arguments.train_shards),
    )
    with ExitStack() as stack:
        shop = workshop(arguments, stack)
        if isinstance(shop, str):
            raise ConfigError(f"the scorers are tried with the run's own outputs, and {shop}")
        found = tried_run(asked, rules, shop, say=tell)
    page = found.write(arguments.results, arguments.page)
    if arguments.json:
        document = {
            "outcome": found.outcome,
            "run": found.run,
            "audit_id": found.id,
            "ruleset": rules.name,
            "ruleset_dated": f"{rules.dated}",
            "of_seed": found.seed,
            "targets": found.targets,
            "vocab_size": found.vocab_size,
            "page": str(page),
            "scorers": [one.data() for one in found.scorers],
        }
        hand_over(json.dumps(document, indent=2, ensure_ascii=False))
        return EXIT_CODES[found.outcome]
    width = terminal_width()
    for one in found.scorers:
        for line in wrapped(f"{MARKS[one.outcome]} {one.name}  {one.said}", width):
            show(line)
        shown = one.verdicts if len(found.scorers) == 1 else [v for v in one.verdicts if v.outcome in TELLING]
        for line in verdict_lines(shown, width) if shown else ():
            show(f"  {line}" if width is None or width > WIDE else line)
    counts = Counter(one.outcome for one in found.scorers)
    said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in MARKS if counts[outcome])
    for line in wrapped(f"{said} by {rules.label}; seed {found.seed}, {found.text}", width):
        show(line)
    show(f"page  {page}")
    return EXIT_CODES[found.outcome]
