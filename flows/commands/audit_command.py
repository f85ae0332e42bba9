"""`pgolf audit`: whether a scorer's numbers are a code length, found by its behaviour alone."""

import argparse
import json
import math
import shlex
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.commands.arguments import add_json, given_path, terminal_width
from flows.commands.self_test_table import document, table
from flows.commands.streams import hand_over, show, tell
from pgolf.audit.audit import Audit, audit
from pgolf.audit.effort import DEFAULT, THOROUGH
from pgolf.audit.program_process import Limits
from pgolf.audit.self_test import ZOO, load_zoo, self_test
from pgolf.audit.tried_program import DEFAULT_TARGETS, TriedProgram, declared_by, shard_text, tried_program
from pgolf.audit.verdict import Outcome, Verdict
from pgolf.errors import ConfigError

EXAMPLES = """examples:
  pgolf audit --self-test                    the audit itself: known cheats and honest scorers, 20 texts each
  pgolf audit --self-test --zoo DIR --seeds 5    scorers of your own, a file each (docs/audit.md)
  pgolf audit --exec "python their_eval.py" --tokens DATA_DIR
  pgolf audit --exec "./scorer model.bin" --folder theirs --tokens val.bin --tokenizer sp1024.model --thorough

What the program reads and answers: docs/audit_protocol.md. Exit codes: 0 every check passes or does not apply, 1 one
fails, 2 misuse, 3 none fails and one could not decide.
"""

MARKS: dict[Outcome, str] = {"pass": "✓", "fail": "✗", "not applicable": "–", "inconclusive": "?"}
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 1, "inconclusive": 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    whom = parser.add_mutually_exclusive_group(required=True)
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
        "--targets", type=int, default=DEFAULT_TARGETS, metavar="N", help="of the text (default: %(default)s)"
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
    parser.add_argument("--thorough", action="store_true", help="many more places, and many times as long")
    limits = Limits()
    for name, of_what in (("start", "its first answer"), ("answer", "each answer"), ("evaluation", "an evaluation")):
        parser.add_argument(
            f"--{name}-s",
            type=float,
            default=getattr(limits, f"{name}_s"),
            metavar="S",
            help=f"time for {of_what} (default: %(default)g)",
        )
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the verdicts; progress on stderr. Raises ConfigError for what cannot be tried."""
    if arguments.self_test:
        return _self_test(arguments)
    if arguments.tokens is None:
        raise ConfigError("--exec takes the tokens to try the program on: --tokens FILE_OR_DIR")
    for name in ("start_s", "answer_s", "evaluation_s"):
        if not (math.isfinite(value := getattr(arguments, name)) and value > 0):
            raise ConfigError(f"--{name.replace('_', '-')} takes a number above 0, got {value:g}")
    if arguments.piece_targets is not None and arguments.piece_targets < 1:
        raise ConfigError(f"--piece-targets is at least 1, got {arguments.piece_targets}")
    if arguments.seed < 0:
        raise ConfigError(f"--seed is at least 0, got {arguments.seed}")
    try:
        words = shlex.split(arguments.program)
    except ValueError as error:
        raise ConfigError(f"--exec {arguments.program}: {error}") from None
    declared = declared_by(arguments.declare)
    text = shard_text(arguments.tokens, arguments.tokenizer, targets=arguments.targets)
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
            effort=THOROUGH if arguments.thorough else DEFAULT,
            seed=arguments.seed,
            listen=lambda verdict: tell(
                f"{verdict.number} {verdict.name}: {verdict.outcome}, {verdict.cost.wall_s:.1f} s"
            ),
        )
        _show(found, tried, time.monotonic() - began_s, as_json=arguments.json)
    return EXIT_CODES[found.outcome]


def _self_test(arguments: argparse.Namespace) -> int:
    """Print a line per scorer; 1 if a cheat went free or an honest scorer was accused."""
    if arguments.seeds < 1:
        raise ConfigError(f"--seeds is at least 1, got {arguments.seeds}")
    members = load_zoo(arguments.zoo or ZOO)

    def progress(done: int, of: int) -> None:
        if done % len(members) == 0 or done == of:
            tell(f"{done:,} of {of:,} trials")

    rows = self_test(members, arguments.seeds, progress=progress)
    if arguments.json:
        hand_over(json.dumps(document(rows, arguments.seeds), indent=2, ensure_ascii=False))
    else:
        for line in table(rows):
            show(line)
    return int(not all(row.is_right for row in rows))


def _show(found: Audit, tried: TriedProgram, wall_s: float, *, as_json: bool) -> None:
    if as_json:
        document = {
            "outcome": found.outcome,
            "program": found.name,
            "isolation": tried.scorer.isolation,
            "starts": tried.scorer.starts,
            "targets": found.targets,
            "vocab_size": found.vocab_size,
            "seed": found.seed,
            "wall_s": round(wall_s, 1),
            "verdicts": [verdict.to_json() for verdict in found.verdicts],
        }
        hand_over(json.dumps(document, indent=2))
        return
    width = terminal_width()
    for line in verdict_lines(found.verdicts, width):
        show(line)
    counts = ", ".join(f"{len(found.of(outcome))} {outcome}" for outcome in MARKS if found.of(outcome))
    summary = (
        f"{found.outcome}: {counts}; {found.targets:,} targets of {found.vocab_size:,} tokens, {tried.scorer.starts} "
        f"starts in {wall_s:,.0f} s, in {tried.scorer.isolation}"
    )
    for line in [summary] if width is None else textwrap.wrap(summary, max(width, 40)):
        show(line)


def verdict_lines(verdicts: Sequence[Verdict], width: int | None) -> Iterator[str]:
    """A line per verdict, wrapped at `width` columns (None: not wrapped): mark, number, name, why, what settles it."""
    column = max(len(verdict.name) for verdict in verdicts) + 8
    if width is not None and width < 3 * column:
        column = 4
    for verdict in verdicts:
        head = f"{MARKS[verdict.outcome]} {verdict.number:<3} {verdict.name}"
        said = verdict.finding.because
        if verdict.finding.settles:
            said += f"; what would settle it: {verdict.finding.settles}"
        if width is None:
            yield f"{head.ljust(column)} {said}"
            continue
        first, rest = (head.ljust(column), said) if column > 4 else (head, f"— {said}")
        yield from textwrap.wrap(
            rest,
            max(width, 40),
            initial_indent=f"{first} ",
            subsequent_indent=(column + 1) * " ",
            break_on_hyphens=False,
        )
