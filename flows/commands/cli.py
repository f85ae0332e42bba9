"""The command line `pgolf`: the list of commands, and how each ends. Data goes to stdout, everything else to stderr.

Exit codes: 0 done, 1 the result breaks a rule or a stage failed, 2 misuse or unusable input.
Only the module of the command that is asked for is imported; those that run no stage import neither torch nor Prefect.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from pgolf.errors import PgolfError

# What `pgolf --help` says of each; the command itself is flows/commands/NAME_command.py.
COMMANDS = {
    "run": "run a recipe; what did not change is reused",
    "plan": "show what would run and why, without running it",
    "watch": "show what is running on a store",
    "sweep": "evaluate another grid on finished artifacts; refuses to train",
    "results": "print the result tables",
    "figures": "draw the pictures of finished runs again",
    "verify": "check every file of the store against its record",
    "gc": "list or delete what no result refers to",
    "adopt": "keep outputs whose code changed without changing their bytes",
    "recipes": "list the recipes",
    "show": "print a recipe's full configuration",
    "fetch": "download the published token shards and tokenizer",
    "tokenize": "turn documents into token shards",
    "bundle": "write a recipe's self-contained train_gpt.py",
    "export": "write the files of a finished seed and count them on disk",
    "import": "take in weights that a published script has trained",
    "worker": "take runs from a Prefect server, until told to end",
    "doctor": "check this node: server, versions, GPUs, store, space, data, clock",
}


class Command(Protocol):
    """What the module of a command defines; `execute` returns the exit code."""

    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def execute(self, arguments: argparse.Namespace) -> int: ...


def command_named(name: str) -> Command:
    """The command's module, imported now."""
    return cast("Command", import_module(f"flows.commands.{name}_command"))


def parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of these words: every command by name, and the arguments of the one that they ask for."""
    top = argparse.ArgumentParser(
        prog="pgolf",
        description="Turns a language-model recipe into a result that can be trusted: cached stages, a byte budget, "
        "an honest score, several seeds.",
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    asked = next((word for word in words if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        own = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == asked:
            command = command_named(name)
            own.epilog = command.EXAMPLES
            command.add_arguments(own)
            own.set_defaults(execute=command.execute)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    top = parser(words)
    arguments = top.parse_args(words)
    if arguments.version:
        from importlib import metadata

        print(f"pgolf {metadata.version('pgolf')}")
        return 0
    if arguments.command is None:
        top.print_help()
        return 0
    try:
        exit_code: int = arguments.execute(arguments)
        return exit_code
    except PgolfError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; finished stages are kept and will be reused", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{type(error).__name__}: {error.filename or ''} {error.strerror or error}".strip(), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
