"""`pgolf compare`: is one run better than another, by how much, and how sure is that?"""

import argparse
import json
import math
from contextlib import ExitStack
from dataclasses import replace

from flows.commands.arguments import (
    add_json,
    add_results,
    add_scorer,
    add_store,
    add_wide,
    results_there,
    table_width,
)
from flows.commands.made_besides import workshop
from flows.commands.streams import hand_over, show
from pgolf.compare.arms import HEADLINE, arm_of, scorer_asked
from pgolf.errors import ConfigError
from pgolf.pipeline.arms_on_trial import on_trial
from pgolf.pipeline.by_document import compare_runs
from pgolf.stats.compare import CHRONOLOGICAL_RULE, RECORD_RULE, GainRule
from pgolf.tables.declared_seeds import declared_seeds
from pgolf.tables.named_runs import runs_in
from pgolf.tables.parquet import read
from pgolf.tables.ranked import NEEDED
from pgolf.tables.schema import SCORES

EXAMPLES = """examples:
  pgolf compare no-gate demo                       is no-gate better than demo? the last run is the base
  pgolf compare wide deep demo                     each against demo; p-values adjusted by Holm's method
  pgolf compare no-gate demo --margin 0 --per byte
  pgolf compare no-gate demo --rule chronological  better than the row before it, at p < 0.25
  pgolf compare first,second demo                  two runs of one configuration as one arm
  pgolf compare mixed demo --base-scorer network   what does the mixture of `mixed` add to the network of demo?
  pgolf compare demo base --select-on 0.5          each grid's best on half of the documents, reported on the rest
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="by name or key; the last one is the base")
    add_scorer(parser)
    parser.add_argument(
        "--base-scorer",
        metavar="WHICH",
        help="of the base; may be of another kind: network, to see what a mixture adds (default: as --scorer)",
    )
    parser.set_defaults(scorer=None)  # so that `--scorer headline` is told from nothing
    parser.add_argument("--margin", type=float, metavar="NATS", help="what a gain must exceed (default: the rule's)")
    parser.add_argument("--per", choices=("token", "byte"), help="unit of gain and margin (default: token)")
    parser.add_argument(
        "--rule",
        choices=("record", "chronological"),
        default="record",
        help="record: 0.005 nats at p < 0.01; chronological: more than the row before it, at p < 0.25",
    )
    parser.add_argument(
        "--select-on",
        type=float,
        metavar="FRACTION",
        help="choose each grid's best scorer on this share of the documents, and compare on the rest",
    )
    parser.add_argument("--no-documents", action="store_true", help="leave out the test over documents")
    add_store(parser)
    add_results(parser)
    add_json(parser)
    add_wide(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print a sentence, the tables and a figure; 0 whatever the answer is."""
    rule = _rule(arguments)
    if len(arguments.runs) < 2:
        raise ConfigError("a comparison takes two runs or more: pgolf compare RUN BASE")
    for option, given in (
        ("--scorer", arguments.scorer is not None),
        ("--base-scorer", arguments.base_scorer is not None),
        ("--no-documents", arguments.no_documents),
    ):
        if given and arguments.select_on is not None:
            raise ConfigError(f"--select-on chooses scorers by losses by document; leave out {option} or --select-on")
    columns = list(dict.fromkeys((*NEEDED, "checkpoint_sha256", "trace_key")))
    results = results_there(arguments)
    scores, runs = read(results, SCORES, columns=columns), runs_in(results)
    declared = declared_seeds(results, scores)
    of_arms = arguments.scorer or HEADLINE
    wanted = [*[of_arms] * (len(arguments.runs) - 1), arguments.base_scorer or of_arms]
    arms = [
        arm_of(asked, runs, scores, scorer=scorer_asked(scorer), declared=declared)
        for asked, scorer in zip(arguments.runs, wanted, strict=True)
    ]
    with ExitStack() as stack:
        shop = "left out (--no-documents)" if arguments.no_documents else workshop(arguments, stack)
        if not isinstance(shop, str):
            arms = on_trial(arms, shop)
        found = compare_runs(arms, rule, shop, select_on=arguments.select_on, one_kind=arguments.base_scorer is None)
    if arguments.json:
        hand_over(json.dumps(found.data(), indent=2, ensure_ascii=False))
    else:
        show(found.text(table_width(arguments)), end="")
    return 0


def _rule(arguments: argparse.Namespace) -> GainRule:
    rule = RECORD_RULE if arguments.rule == "record" else CHRONOLOGICAL_RULE
    if arguments.margin is not None:
        if not (math.isfinite(arguments.margin) and arguments.margin >= 0):
            raise ConfigError(f"--margin {arguments.margin:g}: a margin is a number of nats, 0 or more")
        rule = replace(rule, margin_nats=arguments.margin)
    return replace(rule, per=arguments.per or rule.per)
