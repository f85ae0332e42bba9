"""`pgolf check-submission`: whether a submission's folder is in order, whoever wrote it."""

import argparse
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from flows.commands.arguments import add_json, given_path, terminal_width
from flows.commands.selftest_command import table
from flows.commands.streams import hand_over, show, tell
from pgolf.bundle.script_settings import Settings
from pgolf.corpus.data_files import DataFiles, find_data
from pgolf.errors import ConfigError
from pgolf.selftest.check import Finding
from pgolf.submission.checked import Checked
from pgolf.submission.clean_room import EVALUATION_S, START_S
from pgolf.submission.folder_check import check_folder
from pgolf.submission.folder_evaluation import Running, check_evaluation
from pgolf.submission.folder_files import read_folder
from pgolf.submission.printed_scores import PrintedScore

EXAMPLES = """examples:
  pgolf check-submission submission                the folder itself: files, fields, numbers, bytes; runs nothing
  pgolf check-submission submission --data DIR     and its script in a clean room, on these validation shards
  pgolf check-submission theirs --data DIR --arguments "" --env EVAL_ONLY=1 --processes 8
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "folder", type=given_path, metavar="DIR", help="the submission: train_gpt.py and what is beside"
    )
    parser.add_argument(
        "--data", type=given_path, metavar="DIR", help="run its script on this data's validation shards"
    )
    parser.add_argument("--tokenizer", type=given_path, metavar="MODEL", help="default: that of the data")
    parser.add_argument(
        "--arguments", metavar="TEXT", help="what its script is called with (default: eval, for a script of pgolf's)"
    )
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="a variable that its script finds set; again"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[], metavar="N", help="evaluate these (default: all)")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="ranks, under torchrun (default: 1, none)"
    )
    parser.add_argument(
        "--limit-s",
        type=float,
        default=EVALUATION_S + START_S,
        metavar="S",
        help=f"end it after these seconds (default: the rule's {EVALUATION_S:g}, and {START_S:g} to start)",
    )
    parser.add_argument("--train-steps", type=int, default=0, metavar="N", help="let it train so many steps, too")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 if anything is wrong. Raises ConfigError for what cannot be checked."""
    running = _running(arguments)
    files = read_folder(arguments.folder)
    findings = check_folder(files)
    if arguments.data is None:
        findings.append(
            Checked(
                name="clean room",
                proves="the script gives its scores alone",
                passed=None,
                said="not run: --data DIR names the shards to evaluate on",
            )
        )
    else:
        data = find_data(arguments.data, arguments.tokenizer)
        of_room = list(check_evaluation(files, data, running, _own_scores, tell))
        # What was seen to be opened and imported counts more than what could be read in the script.
        again = {finding.name for finding in of_room} & {"bytes", "requirements"}
        findings = [finding for finding in findings if finding.name not in again or finding.passed is False] + of_room
    findings = list(dict.fromkeys(findings))
    _show(findings, as_json=arguments.json)
    return int(any(finding.passed is False for finding in findings))


def _own_scores(settings: Settings, model: Path, data: DataFiles) -> tuple[PrintedScore, ...]:
    from pgolf.submission.own_score import own_scores  # loads torch

    return own_scores(settings, model, data)


def _running(arguments: argparse.Namespace) -> Running:
    if not (math.isfinite(arguments.limit_s) and arguments.limit_s > 0):
        raise ConfigError(f"--limit-s takes a number above 0, got {arguments.limit_s:g}")
    for name in ("processes", "train_steps"):
        least = 1 if name == "processes" else 0
        if getattr(arguments, name) < least:
            raise ConfigError(f"--{name.replace('_', '-')} is at least {least}, got {getattr(arguments, name)}")
    pairs = [one.partition("=") for one in arguments.env]
    for name, equals, _value in pairs:
        if not (name and equals):
            raise ConfigError(f"--env {name}: NAME=VALUE is expected")
    try:
        words = None if arguments.arguments is None else shlex.split(arguments.arguments)
    except ValueError as error:
        raise ConfigError(f"--arguments {arguments.arguments}: {error}") from None
    return Running(
        arguments=words,
        environment={name: value for name, _equals, value in pairs},
        processes=arguments.processes,
        limit_s=arguments.limit_s,
        seeds=arguments.seeds,
        train_steps=arguments.train_steps,
    )


def _show(findings: Sequence[Checked], *, as_json: bool) -> None:
    count = {passed: sum(finding.passed is passed for finding in findings) for passed in (True, False, None)}
    if as_json:
        document = [
            {"check": one.name, "passed": one.passed, "said": one.said, "proves": one.proves, "wall_s": one.wall_s}
            for one in findings
        ]
        hand_over(json.dumps({"passed": count[True], "failed": count[False], "findings": document}, indent=2))
        return
    rows = [
        Finding(name=one.name, proves=one.proves, passed=one.passed, said=one.said, wall_s=one.wall_s)
        for one in findings
    ]
    for line in table(rows, terminal_width()):
        show(line)
    others = f", {count[None]} not judged" if count[None] else ""
    passed, wrong = (
        f"{n} {what}{'' if n == 1 else 's'}" for n, what in ((count[True], "check"), (count[False], "thing"))
    )
    show(f"{passed} passed, {wrong} wrong{others}")
