"""`pgolf explain`: what a line or an error of a bundled script means."""

import argparse
import sys
from pathlib import Path

from flows.commands.arguments import given_path
from flows.commands.streams import show
from pgolf.bundle.explain import Explained

EXAMPLES = """examples:
  pgolf explain train_gpt.py 812                       module, function and line behind line 812 of a traceback
  pgolf explain train_gpt.py "(17, 'data', 3)"         the text of the error that the script printed so
  python train_gpt.py eval 2>&1 | pgolf explain train_gpt.py      a whole output, expanded
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("script", type=given_path, metavar="FILE", help="the script; its .map.json lies beside it")
    parser.add_argument(
        "what", nargs="?", metavar="LINE|ERROR", help="line of a traceback, or an error's values; default: stdin's text"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Say what is meant. Raises ConfigError where the map is missing, or has no such line or error."""
    explained = Explained(Path(arguments.script))
    if arguments.what is None:
        show(explained.output(sys.stdin.read()))
    elif arguments.what.isdigit():
        show(explained.line(int(arguments.what)))
    else:
        show(explained.message(arguments.what))
    return 0
