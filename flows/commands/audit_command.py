"""`pgolf audit`: whether a scorer's numbers are a code length, found by its behaviour alone."""

import argparse
import json
import math
import shlex
import time
from collections import Counter
from pathlib import Path

from flows.commands.arguments import (
    add_json,
    add_results,
    add_scorer,
    add_store,
    given_path,
    terminal_width,
)
from flows.commands.audited_run import page_path, tried_run
from flows.commands.self_test_table import document, table
from flows.commands.streams import hand_over, show, tell
from flows.commands.verdict_lines import EXIT_CODES, MARKS, counted, verdict_lines, wrapped
from pgolf.audit.audit import Audit, audit
from pgolf.audit.effort import DEFAULT, QUICK, THOROUGH, Effort
from pgolf.audit.program_process import Limits
from pgolf.audit.ruleset import DEFAULT as DEFAULT_RULES
from pgolf.audit.ruleset import Ruleset, ruleset, shipped
from pgolf.audit.self_test import ZOO, load_zoo, self_test
from pgolf.audit.tried_program import DEFAULT_TARGETS, TriedProgram, declared_by, shard_text, tried_program
from pgolf.audit.verdict import Outcome
from pgolf.errors import ConfigError
from pgolf.pipeline.run_report import write_page
from pgolf.report.audit_page import audit_page

# Of several scorers, only what decides is shown.
TELLING = ("fail", "inconclusive")
WIDE = 80

EXAMPLES = """examples:
  pgolf audit demo                           scorers of a finished run, one of each kind
  pgolf audit demo --scorer network --thorough
  pgolf audit --self-test                    the audit itself: known cheats and honest scorers, 20 texts each
  pgolf audit --self-test --zoo DIR --seeds 5    scorers of your own, a file each (docs/audit.md)
  pgolf audit --exec "python their_eval.py" --tokens DATA_DIR
  pgolf audit --exec "./scorer model.bin" --folder theirs --tokens val.bin --tokenizer sp1024.model --thorough

What the program reads and answers: docs/audit_protocol.md. Exit codes: 0 every check passes or does not apply, 1 one
fails, 2 misuse, 3 none fails and one could not decide.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("run", nargs="?", metavar="RUN", help="a finished run, by name or key: its scorers are tried")
    whom.add_argument("--exec", dest="program", metavar="COMMAND", help="the program, as typed in its folder")
    whom.add_argument("--self-test", action="store_true", help="try the audit on scorers that are known to cheat")
    parser.add_argument("--zoo", type=given_path, metavar="DIR", help="with --self-test: scorers to try it on")
    parser.add_argument(
        "--seeds",
        type=int,
        default=20,
        metavar="N",
        help="with --self-test: texts to try each on (default: %(default)s)",
    )
    parser.add_argument(
        "--folder", type=given_path, default=Path(), metavar="DIR", help="its folder, read-only (default: this one)"
    )
    parser.add_argument(
        "--show",
        type=given_path,
        action="append",
        default=[],
        metavar="DIR",
        help="another folder that it finds; again",
    )
    parser.add_argument(
        "--tokens", type=given_path, metavar="FILE_OR_DIR", help="with --exec: a token shard, or a data folder"
    )
    parser.add_argument("--tokenizer", type=given_path, metavar="MODEL", help="default: that of the data folder")
    parser.add_argument(
        "--targets",
        type=int,
        metavar="N",
        help=f"of the text (default: {DEFAULT_TARGETS}; for a run a few windows and chunks)",
    )
    parser.add_argument(
        "--piece-targets", type=int, metavar="N", help="tokens that its own run reads at a time (default: all at once)"
    )
    parser.add_argument(
        "--declare",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what its author says: documents_apart=true, chunk_targets=N; again",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default: %(default)s)")
    how_hard = parser.add_mutually_exclusive_group()
    how_hard.add_argument("--thorough", action="store_true", help="many more places, and many times as long")
    how_hard.add_argument("--quick", action="store_true", help="few places, in seconds; with --exec and --self-test")
    limits = Limits()
    for name, of_what in (("start", "its first answer"), ("answer", "each answer"), ("evaluation", "an evaluation")):
        parser.add_argument(
            f"--{name}-s",
            type=float,
            default=getattr(limits, f"{name}_s"),
            metavar="S",
            help=f"time for {of_what} (default: %(default)g)",
        )
    add_scorer(parser)
    parser.set_defaults(scorer=None)  # so that `--scorer headline` is told from nothing
    parser.add_argument("--all", action="store_true", help="with RUN: every scorer, not one of each kind")
    parser.add_argument("--of-seed", type=int, metavar="N", help="with RUN: its seed (default: the first)")
    parser.add_argument(
        "--ruleset",
        default=DEFAULT_RULES,
        metavar="NAME_OR_FILE",
        help=f"what must pass: {', '.join(shipped())}, or a file of your own (default: %(default)s)",
    )
    parser.add_argument(
        "--page", type=given_path, metavar="FILE", help="write a page of the verdicts (a run: RESULTS/reports)"
    )
    add_store(parser)
    add_results(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the verdicts; progress on stderr. Raises ConfigError for what cannot be tried."""
    if arguments.self_test:
        return _self_test(arguments)
    if arguments.quick and arguments.program is None:
        raise ConfigError("--quick goes with --exec and --self-test; a run is tried by default or with --thorough")
    rules = ruleset(arguments.ruleset)
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
    text = shard_text(arguments.tokens, arguments.tokenizer, targets=arguments.targets or DEFAULT_TARGETS)
    began_s = time.monotonic()
    with tried_program(
        words,
        text,
        folder=arguments.folder,
        declared=declared,
        shown=arguments.show,
        limits=Limits(start_s=arguments.start_s, answer_s=arguments.answer_s, evaluation_s=arguments.evaluation_s),
        piece_targets=arguments.piece_targets,
    ) as tried:
        for path in tried.hidden:
            tell(f"{path} holds the text, so the program does not find it")
        found = audit(
            tried.subject,
            text.text,
            effort=_effort(arguments),
            seed=arguments.seed,
            listen=lambda verdict: tell(
                f"{verdict.number} {verdict.name}: {verdict.outcome}, {verdict.cost.wall_s:.1f} s"
            ),
        )
        outcome = rules.outcome(found.verdicts)
        _show(arguments, found, tried, outcome, time.monotonic() - began_s)
    return EXIT_CODES[outcome]


def _effort(arguments: argparse.Namespace) -> Effort:
    return THOROUGH if arguments.thorough else QUICK if arguments.quick else DEFAULT


def _self_test(arguments: argparse.Namespace) -> int:
    """Print a line per scorer; 1 if a cheat went free or an honest scorer was accused."""
    if arguments.seeds < 1:
        raise ConfigError(f"--seeds is at least 1, got {arguments.seeds}")
    members = load_zoo(arguments.zoo or ZOO)

    def progress(done: int, of: int) -> None:
        if done % len(members) == 0 or done == of:
            tell(f"{done:,} of {of:,} trials")

    rows = self_test(members, arguments.seeds, effort=_effort(arguments), progress=progress)
    if arguments.json:
        hand_over(json.dumps(document(rows, arguments.seeds), indent=2, ensure_ascii=False))
    else:
        for line in table(rows):
            show(line)
    return int(not all(row.is_right for row in rows))


def _show(arguments: argparse.Namespace, found: Audit, tried: TriedProgram, outcome: Outcome, wall_s: float) -> None:
    trial = {
        "name": found.name,
        "outcome": outcome,
        "verdicts": [verdict.to_json() for verdict in found.verdicts],
    }
    text = f"{found.targets:,} targets of {found.vocab_size:,} tokens"
    if arguments.page is not None:
        facts = {"text": text, "rules": arguments.ruleset, "room": tried.scorer.isolation}
        write_page(arguments.page, audit_page([trial], facts=facts), option="--page")
    if arguments.json:
        document = {
            "outcome": outcome,
            "program": found.name,
            "ruleset": arguments.ruleset,
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
    for line in verdict_lines(found.verdicts, width):
        show(line)
    summary = (
        f"{outcome} by {arguments.ruleset}: {counted(found.verdicts)}; {text}, {tried.scorer.starts} starts in "
        f"{wall_s:,.0f} s, in {tried.scorer.isolation}"
    )
    for line in wrapped(summary, width):
        show(line)


def _run(arguments: argparse.Namespace, rules: Ruleset) -> int:
    found = tried_run(arguments, rules)
    text = f"{found.targets:,} targets of {found.vocab_size:,} tokens"
    page = arguments.page or page_path(arguments, found)
    facts = {"run": f"{found.run}, seed {found.seed}", "text": text, "rules": rules.name, "audit": found.id}
    write_page(page, audit_page([one.data() for one in found.scorers], facts=facts), option="--page")
    if arguments.json:
        document = {
            "outcome": found.outcome,
            "run": found.run,
            "audit_id": found.id,
            "ruleset": rules.name,
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
    for line in wrapped(f"{said} by {rules.name}; seed {found.seed}, {text}", width):
        show(line)
    show(f"page  {page}")
    return EXIT_CODES[found.outcome]
