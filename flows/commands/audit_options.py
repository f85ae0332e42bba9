"""The options of `pgolf audit`, and which of its three ways each belongs to: help and refusals come from one table."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from flows.commands.arguments import add_json, add_results, add_scorer, add_store, given_path
from pgolf.audit.program_process import Limits
from pgolf.audit.ruleset import DEFAULT as DEFAULT_RULES
from pgolf.audit.ruleset import shipped
from pgolf.audit.tried_program import DEFAULT_TARGETS
from pgolf.errors import ConfigError

RUN, PROGRAM, SELF_TEST = "RUN", "--exec", "--self-test"
_BOTH = (RUN, PROGRAM)
_LONGEST_NUMBER = 40
_Container = argparse._ActionsContainer


@dataclass(frozen=True, slots=True)
class _Options:
    """ways: of the command, in which these options mean something. add: puts them into a group of the help."""

    ways: tuple[str, ...]
    add: Callable[[_Container], Any]


def _own(ways: tuple[str, ...], name: str, **settings: Any) -> _Options:
    return _Options(ways, lambda group: group.add_argument(name, **settings))


def _scorer(group: _Container) -> None:
    add_scorer(group)
    group.set_defaults(scorer=None)  # so that `--scorer headline` is told from nothing


def _table() -> Iterator[_Options]:
    path: dict[str, Any] = {"type": given_path}
    folder: dict[str, Any] = {**path, "metavar": "DIR"}
    yield _Options((RUN,), _scorer)
    yield _own((RUN,), "--all", action="store_true", help="every scorer, not one of each kind")
    yield _own(
        (RUN,),
        "--longest-row",
        type=int,
        metavar="N",
        help="rows of at most N tokens, and strides, chunks and delays cut to fit, as in a run's own trial (128 there; "
        "default: as scored)",
    )
    yield _Options((RUN,), add_store)
    yield _Options((RUN,), add_results)
    yield _own(
        (PROGRAM,),
        "--folder",
        **folder,
        help="its folder, read-only (default: the current one); with train_gpt.py or submission.json in it that "
        "submission is on trial, and held to what it reports",
    )
    yield _own((PROGRAM,), "--show", **folder, action="append", default=[], help="another folder that it finds; again")
    yield _own((PROGRAM,), "--tokens", **path, metavar="FILE_OR_DIR", help="a token shard, or a data folder")
    yield _own((PROGRAM,), "--tokenizer", **path, metavar="MODEL", help="default: that of the data folder")
    yield _own(
        (PROGRAM,),
        "--piece-targets",
        type=int,
        metavar="N",
        help="tokens that its own run reads at a time (default: all at once)",
    )
    yield _own(
        (PROGRAM,),
        "--declare",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what its author says: documents_apart=true, chunk_targets=N; again",
    )
    number: dict[str, Any] = {"type": _number, "metavar": "X"}
    yield _own((PROGRAM,), "--reported-bpb", **number, help="its val_bpb of all tokens (default: of submission.json)")
    yield _own((PROGRAM,), "--reported-loss", **number, help="its val_loss of them, nats per token (default: as above)")
    yield _own((PROGRAM,), "--bytes", type=_bytes, metavar="N", help="of its code and model, as its author counts them")
    yield _own(
        (PROGRAM,), "--whole-text", action="store_true", help="score all tokens once, and hold the report against that"
    )
    limits = Limits()
    for name, of_what in (("start", "its first answer"), ("answer", "each answer"), ("evaluation", "an evaluation")):
        default = getattr(limits, f"{name}_s")
        yield _own(
            (PROGRAM,),
            f"--{name}-s",
            type=float,
            default=default,
            metavar="S",
            help=f"time for {of_what} (default: {default:g})",
        )
    yield _own(
        _BOTH,
        "--of-seed",
        type=int,
        metavar="N",
        help="a run's seed (default: its recipe's first); of a submission whose model the program evaluates",
    )
    yield _own(
        _BOTH,
        "--targets",
        type=int,
        metavar="N",
        help=f"of the text (default: {DEFAULT_TARGETS}; for a run a few windows and chunks)",
    )
    yield _own(
        _BOTH,
        "--train-shards",
        **path,
        metavar="FILE_OR_DIR",
        help="what was trained on, compared with all of the text (default: of a run its data's)",
    )
    yield _own(
        _BOTH,
        "--seed",
        type=int,
        metavar="N",
        help="of what is drawn (default: of a run 0, of a program one that nobody knows before; it is told)",
    )
    yield _own(_BOTH, "--thorough", action="store_true", help="many more places, and many times as long")
    yield _own(
        _BOTH,
        "--ruleset",
        default=DEFAULT_RULES,
        metavar="NAME_OR_FILE",
        help=f"what must pass: {', '.join(shipped())}, or a .toml file of your own (default: {DEFAULT_RULES})",
    )
    yield _own(_BOTH, "--page", **path, metavar="FILE", help="a page of the verdicts (a run: RESULTS/reports)")
    yield _own((SELF_TEST,), "--zoo", **folder, help="scorers to try it on (default: those of pgolf's tests)")
    yield _own((SELF_TEST,), "--seeds", type=int, default=20, metavar="N", help="texts to try each on (default: 20)")
    yield _own((RUN, PROGRAM, SELF_TEST), "--quick", action="store_true", help="few places, in seconds")
    yield _Options((RUN, PROGRAM, SELF_TEST), add_json)


class AuditOptions:
    """The options of a parser. Until `settle` none that was not typed has a value, so that the others are known."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        whom = parser.add_mutually_exclusive_group(required=True)
        whom.add_argument("run", nargs="?", metavar="RUN", help="a finished run, by name or key: its scorers are tried")
        whom.add_argument("--exec", dest="program", metavar="COMMAND", help="any program, as typed in its folder")
        whom.add_argument("--self-test", action="store_true", help="try the audit on scorers that are known to cheat")
        self._ways: dict[str, tuple[str, ...]] = {}
        self._names: dict[str, str] = {}
        self._defaults: dict[str, Any] = {}
        groups: dict[tuple[str, ...], _Container] = {}
        for options in _table():
            everywhere = len(options.ways) == len((RUN, PROGRAM, SELF_TEST))
            title = "in any case" if everywhere else f"with {' or '.join(options.ways)}"
            if options.ways not in groups:
                groups[options.ways] = parser.add_argument_group(title)
            before = list(parser._actions)
            options.add(groups[options.ways])
            for action in (one for one in parser._actions if one not in before):
                self._ways[action.dest], self._names[action.dest] = options.ways, action.option_strings[0]
                self._defaults[action.dest] = action.default
                # Help texts name the default, which must be no value before `settle`.
                action.help = (action.help or "").replace("%(default)s", str(action.default).replace("%", "%%"))
                action.default = None

    def settle(self, arguments: argparse.Namespace) -> None:
        """Give what was not typed its default. Raises ConfigError for an option that means nothing in this way."""
        way = SELF_TEST if arguments.self_test else PROGRAM if arguments.program is not None else RUN
        given = [name for name in self._ways if getattr(arguments, name) is not None]
        for name in given:
            if way not in self._ways[name]:
                raise ConfigError(
                    f"{self._names[name]} belongs to `pgolf audit {_OR.join(_TYPED[one] for one in self._ways[name])}` "
                    f"and means nothing for `pgolf audit {_TYPED[way]}`; leave it out"
                )
        for name, default in self._defaults.items():
            if getattr(arguments, name) is None:
                setattr(arguments, name, default)


_TYPED: Mapping[str, str] = {RUN: "RUN", PROGRAM: "--exec COMMAND", SELF_TEST: "--self-test"}
_OR = "` or `pgolf audit "


def _number(text: str) -> Decimal:
    """A score as it is written: its digits say how exactly it is meant."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or number <= 0 or len(text) > _LONGEST_NUMBER or abs(number.adjusted()) > _LONGEST_NUMBER:
        raise argparse.ArgumentTypeError(
            f"{text[:_LONGEST_NUMBER]!r} is no score; write a number above 0, such as 1.0565"
        )
    return number


def _bytes(text: str) -> int:
    digits = text.replace(",", "").replace("_", "")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > _LONGEST_NUMBER:
        raise argparse.ArgumentTypeError(
            f"{text[:_LONGEST_NUMBER]!r} is no number of bytes; write one such as 15975816"
        )
    return int(digits)
