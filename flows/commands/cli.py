"""The command line `pgolf`: the list of commands, and how each ends. Data goes to stdout, everything else to stderr.

Exit codes: 0 done, 1 the result breaks a rule or a stage failed, 2 misuse or unusable input.
Only the module of the command that is asked for is imported; those that run no stage import neither torch nor Prefect.
"""

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn, Protocol, cast

from flows.commands.streams import (
    close_outputs,
    hand_over,
    open_missing,
    output_failed,
    shortened,
    show,
    show_plainly,
    tell,
    tell_of_output,
)
from flows.ctrl_c import INTERRUPTED, unwound_once
from pgolf.errors import PgolfError, StoreFull, StoreUnreadable
from pgolf.machine.lack import lack_behind, lack_of

_OBJECTS_BEFORE_COLLECTION = 100_000

# What `pgolf --help` says of each; the command itself is flows/commands/NAME_command.py.
COMMANDS = {
    "run": "run a recipe; what did not change is reused",
    "plan": "show what would run and why, without running it",
    "watch": "show what is running on a store",
    "sweep": "evaluate another grid on finished artifacts; refuses to train",
    "results": "print the result tables",
    "compare": "say whether one run is better than another, by how much and how sure that is",
    "rm": "take a run out of the tables, or back into them",
    "rename": "give a run another name, tags or a note",
    "report": "write a page of runs: results, curves, bytes, time, text, provenance",
    "figures": "draw the pictures of finished runs again",
    "verify": "check every file of the store against its record",
    "gc": "list or delete what no result refers to",
    "adopt": "keep outputs whose code changed without changing their bytes",
    "recipes": "list the recipes",
    "show": "print a recipe's full configuration",
    "new": "write a recipe file of one's own",
    "fetch": "download the published token shards and tokenizer",
    "tokenize": "turn documents into token shards",
    "bundle": "write a recipe's self-contained train_gpt.py",
    "explain": "say what a line or an error of a bundled script means",
    "export": "write a run as the folder that one submits, tried in a clean room",
    "check-submission": "check a submission's folder, whoever wrote it, and run it in a clean room",
    "audit": "find out by its behaviour whether a scorer's numbers are a code length",
    "import": "take in weights that a published script has trained",
    "worker": "take runs from a Prefect server, until told to end",
    "selftest": "prove on this machine that its devices compute what they should, with numbers",
    "completion": "write the script by which a shell completes these commands",
    "doctor": "check this node: server, versions, GPUs, store, space, data, clock",
}


class Command(Protocol):
    """What the module of a command defines; `execute` returns the exit code."""

    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def execute(self, arguments: argparse.Namespace) -> int: ...


def command_named(name: str) -> Command:
    """The command's module, imported now."""
    return cast("Command", import_module(f"flows.commands.{name.replace('-', '_')}_command"))


def parser(words: Iterable[str] = ()) -> argparse.ArgumentParser:
    """The parser of these words: every command by name, and the arguments of the one that they ask for.

    words: of a command line, or COMMANDS for the arguments of all.
    """
    top = _Parser(
        prog="pgolf",
        description="Turns a language-model recipe into a result that can be trusted: cached stages, a byte budget, "
        "an honest score, several seeds.",
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    asked = list(COMMANDS) if words is COMMANDS else [word for word in words if not word.startswith("-")][:1]
    for name, summary in COMMANDS.items():
        own = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in asked:
            command = command_named(name)
            own.epilog = command.EXAMPLES
            command.add_arguments(own)
            own.set_defaults(execute=command.execute)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    # Looking for cycles among what is imported takes a tenth of a plan, and finds none.
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
    # And at the end of the process half a second, once torch or Prefect is among it.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    open_missing()
    show_plainly()
    words = sys.argv[1:] if argv is None else argv
    with unwound_once():
        return _ended(words)


def _ended(words: Sequence[str]) -> int:
    """Run one command, and say how it ended."""
    folders: list[Path] = []
    try:
        exit_code = _run(words, folders)
    except SystemExit as asked:  # argparse has said what is wrong, or printed the help
        exit_code = asked.code if isinstance(asked.code, int) else 0
        if isinstance(asked, _Misuse):
            _report("Misuse", asked.said, exit_code, words)
        sys.exit(close_outputs(exit_code))
    except PgolfError as error:
        tell(f"{type(error).__name__}: {error}")
        _report(type(error).__name__, str(error), error.exit_code, words)
        lack = lack_of(error.__cause__, folders) if error.__cause__ is not None else None
        if lack is not None and lack not in str(error) and not isinstance(error, StoreFull | StoreUnreadable):
            tell(f"  {lack}")
        exit_code = error.exit_code
    except KeyboardInterrupt as interrupt:
        lack = lack_behind(interrupt)
        tell(f"MachineError: {lack}" if lack else INTERRUPTED)
        exit_code = 2 if lack else 130
    except BrokenPipeError:
        exit_code = 0  # the reader (head, less) has gone
    except Exception as error:
        if isinstance(error, OSError) and output_failed(error):
            exit_code = tell_of_output(error)
        elif lack := lack_of(error, folders):
            tell(f"MachineError: {lack}")
            exit_code = 2
        elif isinstance(error, OSError):
            said, exit_code = _said(error, words, folders), 2
            tell(said)
            _report(type(error).__name__, said, exit_code, words)
        else:
            raise
    return close_outputs(exit_code)


def _report(kind: str, said: str, exit_code: int, words: Sequence[str]) -> None:
    """An error as JSON on standard output, for a program that was promised JSON there; the line on stderr stays."""
    if "--json" not in words:
        return
    import json

    try:
        hand_over(json.dumps({"error": {"kind": kind, "message": said, "exit_code": exit_code}}, indent=2))
    except OSError:  # nobody reads any more, which is said when the outputs are closed
        return


def _run(words: Sequence[str], folders: list[Path]) -> int:
    """folders: is told where the command may write to."""
    top = parser(words)
    arguments = top.parse_args(words)
    if arguments.version:
        from importlib import metadata

        show(f"pgolf {metadata.version('pgolf')}")
        return 0
    if arguments.command is None:
        top.print_help()
        return 0
    named = [getattr(arguments, name, None) for name in ("store", "cache", "results", "output", "out")]
    folders += [path for path in named if isinstance(path, Path)]
    exit_code: int = arguments.execute(arguments)
    return exit_code


def _said(error: OSError, words: Sequence[str], folders: Sequence[Path]) -> str:
    """What failed, on which file, or else in doing what."""
    said = f"{type(error).__name__}: "
    if error.filename is not None:
        return f"{said}{shortened(os.fsdecode(error.filename), 300)}: {error.strerror or error}"
    where = shortened(", ".join(map(str, folders)), 300)
    return f"{said}{error.strerror or error}, in `pgolf {words[0] if words else ''}`{f' with {where}' if where else ''}"


class _Misuse(SystemExit):
    """The end of a command whose arguments are none; `said` is why."""

    def __init__(self, said: str) -> None:
        super().__init__(2)
        self.said = said


class _Parser(argparse.ArgumentParser):
    """As argparse's, but an error of its output is not passed over, and what was typed is repeated in part only."""

    def error(self, message: str) -> NoReturn:
        said = shortened(message, PgolfError.most_characters)
        self.print_usage(sys.stderr)
        self._print_message(f"{self.prog}: error: {said}\n", sys.stderr)
        raise _Misuse(said)

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:
        if message:
            (file or sys.stderr).write(message)


if __name__ == "__main__":
    sys.exit(main())
