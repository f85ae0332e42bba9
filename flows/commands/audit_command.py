"""`pgolf audit`: whether a scorer's numbers are a code length, found by its behaviour alone."""

import argparse
import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import fields

from flows.commands.arguments import results_there, terminal_width
from flows.commands.audit_options import AuditOptions
from flows.commands.made_besides import workshop
from flows.commands.self_test_table import document, table
from flows.commands.streams import hand_over, show, tell
from flows.commands.verdict_lines import EXIT_CODES, MARKS, counted, verdict_lines, wrapped
from pgolf.audit.effort import EFFORTS
from pgolf.audit.ruleset import Ruleset, ruleset
from pgolf.audit.self_test import ZOO, load_zoo, self_test
from pgolf.audit.tried_program import train_shards
from pgolf.errors import ConfigError
from pgolf.pipeline.program_trial import AskedProgram, ProgramTrial, program_on_trial
from pgolf.pipeline.tried_run import Asked, tried_run
from pgolf.recipes.recipe import Effort

# Options of --exec that are asked for under their own names.
_AS_TYPED = tuple(one.name for one in fields(AskedProgram) if one.name not in ("size_bytes", "effort"))

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
    if arguments.seed is None and arguments.program is None:
        arguments.seed = 0
    if arguments.seed is not None and arguments.seed < 0:
        raise ConfigError(f"--seed is at least 0, got {arguments.seed}")
    if arguments.targets is not None and arguments.targets < 1:
        raise ConfigError(f"--targets is at least 1, got {arguments.targets}")
    if arguments.page is not None and arguments.page.is_dir():
        raise ConfigError(f"--page {arguments.page} is a folder; name the file that the page is to be")
    return _run(arguments, rules) if arguments.program is None else _program(arguments, rules)


def _program(arguments: argparse.Namespace, rules: Ruleset) -> int:
    asked = AskedProgram(
        **{name: getattr(arguments, name) for name in _AS_TYPED},
        size_bytes=arguments.bytes,
        effort=_effort(arguments),
    )
    found = program_on_trial(asked, rules, say=tell)
    if arguments.json:
        hand_over(json.dumps(found.data(), indent=2))
    else:
        _show_program(found, rules)
    if arguments.page is not None:  # last: the trial is kept nowhere else, and a full disk may not take it away
        found.write(arguments.page)
    return EXIT_CODES[found.outcome]


def _show_program(found: ProgramTrial, rules: Ruleset) -> None:
    width = terminal_width()
    for line in verdict_lines(found.verdicts, width):
        show(line)
    summary = (
        f"{found.outcome} by {rules.label}: {counted(found.verdicts)}; {found.text}, seed {found.seed}, {found.starts} "
        f"starts in {found.wall_s:,.0f} s, in {found.isolation}"
    )
    for line in wrapped(summary, width):
        show(line)


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
