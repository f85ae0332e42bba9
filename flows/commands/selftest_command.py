"""`pgolf selftest`: what this machine's devices compute, with numbers and a verdict per check."""

import argparse
import json
import math
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Literal

from flows.commands.arguments import add_json, terminal_width
from flows.commands.streams import hand_over, show, tell
from pgolf.errors import ConfigError
from pgolf.machine.gpu_state import gpu_states
from pgolf.machine.gpus import may_be_tried, visible_gpus
from pgolf.machine.hardware import core_count, cpu_name, gpu_names
from pgolf.machine.torch_build import BuildLack, build_lacks, torch_build
from pgolf.pipeline.place import lease_dir
from pgolf.run_options import RunOptions
from pgolf.selftest.check import MARKS, Finding

EXAMPLES = """examples:
  pgolf selftest                                   before the first run: 3 minutes on a GPU, 4 on eight, 1 on a CPU
  pgolf selftest --only collectives "equal ranks"  some checks alone
  pgolf selftest --json > selftest.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument(
        "--processes", type=int, default=0, metavar="N", help="ranks, one GPU each (default: all; two on a CPU)"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="CHECK", help="these checks alone, by name")
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="time for all checks; what is not done by then has failed (default: 165 on a GPU, 225 on several, 50 on "
        "a CPU)",
    )
    parser.add_argument(
        "--toy", action="store_true", help="small networks in the place of those of full size, on any device; not timed"
    )
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the findings, progress on stderr; returns 1 if a check failed."""
    if (seconds := arguments.seconds) is not None and not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"--seconds takes a number above 0, got {seconds:g}")
    began_s = time.monotonic()
    findings = [*_of_devices(arguments.device), *_of_checks(arguments)]
    wall_s = time.monotonic() - began_s
    failed = sum(finding.passed is False for finding in findings)
    if arguments.json:
        hand_over(json.dumps(document(findings, wall_s, toy=arguments.toy), indent=2))
    else:
        for line in table(findings, terminal_width()):
            show(line)
        for line in _wrapped(_summary(findings, wall_s), "", 0, terminal_width()):
            show(line)
    return int(failed > 0)


def _of_checks(arguments: argparse.Namespace) -> Iterator[Finding]:
    from pgolf.selftest.checks import all_checks  # loads torch
    from pgolf.selftest.suite import selftest

    run = RunOptions(device=arguments.device, processes=arguments.processes, lease_dir=lease_dir())
    found = selftest(run, only=arguments.only, toy=arguments.toy, limit_s=arguments.seconds, say=tell)
    order = [check.name for check in all_checks(toy=arguments.toy)]
    yield from sorted(found, key=lambda finding: order.index(finding.name))


def _of_devices(device: str) -> Iterator[Finding]:
    """Whether torch can use the GPUs that the driver lists, and whether nobody else does."""
    seen = visible_gpus()
    if device == "cpu" or not (seen.gpus or seen.problem):
        if device == "cuda":
            raise ConfigError(f"--device cuda: {seen.counted}; run on a GPU node, or leave --device out")
        return
    names = [gpu.name for gpu in seen.gpus]
    proves = "torch finds the driver's GPUs, with NCCL and flash attention, and nobody else uses them"
    busy = [f"GPU {i}: process {', '.join(state.users)}" for i, state in enumerate(gpu_states()) if state.users]
    if seen.problem:
        lacks = [BuildLack("gpus", seen.problem, "do what it says")]
    else:
        tries: Literal["gpus", "nothing"] = "gpus" if may_be_tried([gpu.uuid for gpu in seen.gpus]) else "nothing"
        lacks = build_lacks(torch_build(tries=tries), len(names))
    said = [lack.said for lack in lacks] + ([f"used by others: {'; '.join(busy)}"] if busy else [])
    remedies = [lack.remedy for lack in lacks] + (["wait for them, or end them"] if busy else [])
    yield Finding(
        name="devices",
        proves=proves,
        passed=not said,
        said="; ".join(said) or f"{len(names)} × {names[0]}, unused",
        means="nothing can run on GPUs, or what runs is slowed, so that its seconds mean nothing" if said else "",
        remedy="; ".join(dict.fromkeys(remedies)),
    )


def table(findings: Sequence[Finding], width: int | None) -> Iterator[str]:
    """A line per finding, wrapped at `width` columns (None: not wrapped), and of a failed one what it means."""
    column = max(len(finding.name) for finding in findings) + 4
    if width is not None and width < 3 * column:
        column = 4  # the name on a line of its own
    for finding in findings:
        took = f" ({finding.wall_s:.1f} s)" if finding.wall_s is not None else ""
        head = f"{MARKS[finding.passed]} {finding.name}"
        if len(head) < column:
            yield from _wrapped(finding.said + took, head.ljust(column), column, width)
        else:
            yield head
            yield from _wrapped(finding.said + took, column * " ", column, width)
        for mark, text in (("proves", finding.proves), ("means", finding.means), ("→", finding.remedy)):
            if finding.passed is False and text:
                yield from _wrapped(f"{mark} {text}", column * " ", column + 2, width)


def _wrapped(text: str, first: str, indent: int, width: int | None) -> Iterator[str]:
    if width is None:
        yield first + text
        return
    yield from textwrap.wrap(text, max(width, 40), initial_indent=first, subsequent_indent=indent * " ")


def _summary(findings: Sequence[Finding], wall_s: float) -> str:
    count = {passed: sum(finding.passed is passed for finding in findings) for passed in (True, False, None)}
    others = f", {count[None]} skipped or not judged" if count[None] else ""
    return f"{count[True]} passed, {count[False]} failed{others}; {wall_s:.0f} s on {device_line()}"


def device_line() -> str:
    """This machine's devices and torch, in words."""
    names = gpu_names()
    device = f"{len(names)} × {names[0]}" if names else f"{cpu_name()}, {core_count()} cores"
    return f"{device}, torch {metadata.version('torch')}"


def document(findings: Sequence[Finding], wall_s: float, *, toy: bool) -> dict[str, object]:
    """The findings as one JSON document."""
    return {
        "device": device_line(),
        "date": datetime.now(UTC).date().isoformat(),
        "toy": toy,
        "wall_s": round(wall_s, 1),
        "findings": [_as_json(asdict(finding)) for finding in findings],
    }


def _as_json(value: Any) -> Any:
    """The value with numbers that JSON has no form for (infinite, or none) as words."""
    if isinstance(value, dict):
        return {name: _as_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
