"""`pgolf compare`: is one run better than another, by how much, and how sure is that?"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flows.commands.arguments import add_json, add_results, add_store, store_place, terminal_width
from flows.commands.console import Console
from flows.commands.streams import hand_over, show
from pgolf.compare.arms import HEADLINE, NETWORK, Arm, arm_of
from pgolf.compare.comparison import ByDocument, Gain, check_comparable, compare_arms
from pgolf.compare.forest import forest
from pgolf.compare.sentence import sentence
from pgolf.compare.sheets import seeds_sheet, settings_sheet, verdicts_sheet
from pgolf.errors import ConfigError
from pgolf.pipeline.by_document import Workshop, by_document, selected
from pgolf.stats.compare import CHRONOLOGICAL_RULE, RECORD_RULE, GainRule
from pgolf.tables.filters import Condition, parse_conditions
from pgolf.tables.named_runs import runs_in
from pgolf.tables.parquet import read
from pgolf.tables.ranked import NEEDED
from pgolf.tables.schema import SCORES
from pgolf.tables.text import to_json, to_text

EXAMPLES = """examples:
  pgolf compare no-gate demo                       is no-gate better than demo? the last run is the base
  pgolf compare wide deep demo                     each against demo; p-values adjusted by Holm's method
  pgolf compare no-gate demo --margin 0 --per byte
  pgolf compare no-gate demo --rule chronological  better than the row before it, at p < 0.25
  pgolf compare first,second demo                  two runs of one configuration as one arm
  pgolf compare demo base --select-on 0.5          each grid's best on half of the documents, reported on the rest
"""

_WIDTH = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="by name or key; the last one is the base")
    parser.add_argument(
        "--scorer",
        default=HEADLINE,
        metavar="WHICH",
        help="headline (default: the declared one), network, or settings: 'estimator=exact mixer=dirichlet order=5'",
    )
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


def execute(arguments: argparse.Namespace) -> int:
    """Print a sentence, the tables and a figure; 0 whatever the answer is."""
    rule = _rule(arguments)
    if len(arguments.runs) < 2:
        raise ConfigError("a comparison takes two runs or more: pgolf compare RUN BASE")
    if arguments.select_on is not None and not 0 < arguments.select_on < 1:
        raise ConfigError(f"--select-on {arguments.select_on:g} is no share; give one between 0 and 1, e.g. 0.5")
    columns = list(dict.fromkeys((*NEEDED, "checkpoint_sha256", "trace_key")))
    scores, runs = read(arguments.results, SCORES, columns=columns), runs_in(arguments.results)
    arms = [arm_of(asked, runs, scores, scorer=_scorer(arguments.scorer)) for asked in arguments.runs]
    if len({tuple(run.key for run in arm.runs) for arm in arms}) < len(arms):
        raise ConfigError(f"{' and '.join(arguments.runs)} name one run twice; a run is not better than itself")
    arms = _distinct(arms)
    per = check_comparable(arms)
    if per == "byte" and rule.per == "token":
        if arguments.per == "token":
            raise ConfigError(
                "the arms have other tokens of one text, and a nat per token of each is another unit; "
                "compare them --per byte"
            )
        rule = replace(rule, per="byte")
    with ExitStack() as stack:
        arms, documents = _documents(arguments, arms, stack)
    gains = compare_arms(arms[:-1], arms[-1], rule, documents)
    if arguments.json:
        hand_over(json.dumps(_plain(gains, arms, rule), indent=2, ensure_ascii=False))
    else:
        _print(gains, arms, rule)
    return 0


def _rule(arguments: argparse.Namespace) -> GainRule:
    rule = RECORD_RULE if arguments.rule == "record" else CHRONOLOGICAL_RULE
    if arguments.margin is not None:
        if not (math.isfinite(arguments.margin) and arguments.margin >= 0):
            raise ConfigError(f"--margin {arguments.margin:g}: a margin is a number of nats, 0 or more")
        rule = replace(rule, margin_nats=arguments.margin)
    return replace(rule, per=arguments.per or rule.per)


def _scorer(text: str) -> Sequence[Condition] | str:
    return text if text in (HEADLINE, NETWORK) else parse_conditions(text.split())


def _distinct(arms: Sequence[Arm]) -> list[Arm]:
    """Arms under names that tell them apart: where two have one name, by their keys."""
    names = [arm.name for arm in arms]
    return [replace(arm, name=arm.runs[0].key) if names.count(arm.name) > 1 else arm for arm in arms]


def _documents(
    arguments: argparse.Namespace, arms: Sequence[Arm], stack: ExitStack
) -> tuple[list[Arm], dict[str, ByDocument]]:
    """The arms, with --select-on those of the chosen scorers, and their losses by document."""
    if arguments.no_documents and arguments.select_on is None:
        return [*arms], {arm.name: ByDocument(why_not="left out (--no-documents)") for arm in arms}
    place = store_place(arguments)
    if isinstance(arguments.store, Path) and not arguments.store.is_dir():
        missing = f"there is no store at {arguments.store}; name it with --store"
        if arguments.select_on is not None:
            raise ConfigError(f"--select-on reads the outputs of the runs, and {missing}")
        return [*arms], {arm.name: ByDocument(why_not=missing) for arm in arms}
    store, memo = place.open_store(), place.memo()
    console = stack.enter_context(Console(reasons={}))
    stack.enter_context(store.using("pgolf compare", console.say))
    shop = Workshop(store=store, memo=memo, run=place.run_options(), listener=console, results=arguments.results)
    if arguments.select_on is not None:
        found = [selected(arm, arguments.select_on, shop) for arm in arms]
    else:
        found = [(arm, by_document(arm, shop)) for arm in arms]
    store.save_memo()
    memo.save()
    return [arm for arm, _ in found], {arm.name: documents for arm, documents in found}


def _print(gains: Sequence[Gain], arms: Sequence[Arm], rule: GainRule) -> None:
    width = terminal_width()
    show("\n".join(sentence(gain) for gain in gains))
    show(f"on {arms[-1].text}")
    for sheet in (settings_sheet(arms), seeds_sheet(arms, rule.per), verdicts_sheet(gains)):
        show("")
        show(to_text(sheet, width), end="")
    if lines := forest(gains, width or _WIDTH):
        show("")
        show("\n".join(lines))


def _plain(gains: Sequence[Gain], arms: Sequence[Arm], rule: GainRule) -> dict[str, Any]:
    """The whole comparison as plain data."""

    def arm(one: Arm) -> dict[str, Any]:
        scores: Mapping[str, Any] = {str(seed): asdict(score) for seed, score in sorted(one.by_seed.items())}
        keys = [run.key for run in one.runs]
        return {"name": one.name, "runs": keys, "scorer": one.scorer, "seeds": scores, "notes": list(one.notes)}

    def gain(one: Gain) -> dict[str, Any]:
        tests = {"welch": one.welch, "paired": one.paired, "documents": one.documents}
        return {
            "sentence": sentence(one),
            "arm": one.candidate.name,
            "base": one.base.name,
            "gain_nats": one.over_seeds.gain_nats,
            "gain_bpb": one.gain_bpb,
            "gain_nats_per_byte": one.gain_nats_per_byte,
            "test": one.over_seeds.test,
            "p": one.p_value,
            "passes": one.passes,
            "seeds_wanted": one.seeds_wanted,
            "no_documents": one.no_documents or None,
            **{name: None if test is None else asdict(test) for name, test in tests.items()},
        }

    return {
        "rule": asdict(rule),
        "text": arms[-1].text.facts,
        "arms": [arm(one) for one in arms],
        "settings": json.loads(to_json(settings_sheet(arms))),
        "gains": [gain(one) for one in gains],
    }
