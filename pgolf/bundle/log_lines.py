"""The lines of a log that say what a training and an evaluation came to: one definition for who computed it.

A bundled script prints them, `pgolf.submission.seed_log` composes them of a finished seed, `scores_in` reads them back.
Facts are those of the stages' records.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgolf.budget import CLOCK_LIMIT_S

_LEGACY = "legacy, probabilities sum to"
_NOT_CAUSAL = "not causal, learned before it was scored"
_SCORER = re.compile(
    r"(?P<name>\S.*?)  (?:(?P<caution>\S.*): no code length  )?\S+ nats/token  \S+ bits/byte  "
    r"(?P<targets>[\d,]+) targets  (?P<bytes>[\d,]+) bytes  loss:(?P<loss>\S+) bpb:(?P<bpb>\S+)(?: mass:(?P<mass>\S+))?"
)


def train_line(seed: int, facts: Mapping[str, Any]) -> str:
    """What was trained. facts: steps, tokens, processes, device, train_loss_nats and train_clock_s."""
    ranks = f"{facts['processes']} rank{'s' if facts['processes'] > 1 else ''}"
    return (
        f"trained  seed {seed}  {facts['steps']:,} steps  {facts['tokens']:,} tokens  {ranks} on {facts['device']}  "
        f"loss {facts['train_loss_nats']:.4f} nats  {facts['train_clock_s']:.1f} s"
    )


def calibrate_line(facts: Mapping[str, Any], wall_s: float) -> str:
    """What was calibrated. facts: hessians and tokens."""
    return f"calibrated  {facts['hessians']} Hessians from {facts['tokens']:,} tokens  {wall_s:.1f} s"


def compress_lines(facts: Mapping[str, Any], wall_s: float) -> list[str]:
    """How the model was packed, and what it and the code take of the budget. facts: of `compress`."""
    left_bytes = facts["under_bytes"]
    return [
        f"packed  {facts['summary'] or 'float16'}  bits per weight: {facts['bits'] or 'none quantized'}  "
        f"{facts['codec']}{f' {level}' if (level := facts['level']) else ''}  {wall_s:.1f} s",
        f"model {facts['artifact_bytes']:,} + code {facts['code_bytes']:,} = {facts['total_bytes']:,} bytes  "
        f"{abs(left_bytes):,} {'OVER' if left_bytes < 0 else 'under'} the budget of {facts['budget_bytes']:,}",
    ]


def clock_line(what: str, phases_s: Mapping[str, float]) -> str:
    """The challenge's clock of training or evaluation: the seconds of all that counts, and of each part."""
    total_s = sum(phases_s.values())
    parts = "  ".join(f"{phase} {seconds:.1f} s" for phase, seconds in phases_s.items())
    return f"{what} clock  {total_s:.1f} s of {CLOCK_LIMIT_S:g}{', OVER' if total_s > CLOCK_LIMIT_S else ''}  {parts}"


def score_lines(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per scorer. cells: rows of cells.parquet."""
    return [_score_line(cell) for cell in cells]


def headline_line(cells: Sequence[Mapping[str, Any]]) -> str:
    """The last line, the result: of the declared mixture with exact counts where that is a code length, else the
    network's.

    cells: the network first, and of mixtures with exact counts the declared one alone.
    """
    mixed = (cell for cell in cells if cell["estimator"] == "exact" and not _caution(cell))
    cell = next(mixed, cells[0])
    return f"val_loss:{cell['loss_nats']!r} val_bpb:{cell['bpb']!r}{_caution(cell)}"


def scorer_named(cell: Mapping[str, Any]) -> str:
    """A scorer in words, with the settings that set it apart."""
    settings = json.loads(cell["cell"])
    if settings.pop("estimator") == "neural":
        return "network"
    mixer = settings.pop("mixer")
    settings.pop("counts", None)
    return f"{cell['estimator']} {mixer} ({', '.join(f'{name} {value}' for name, value in settings.items())})"


def _score_line(cell: Mapping[str, Any]) -> str:
    mass = "" if cell["normalized"] else f" mass:{cell['mass_mean']!r}"
    return (
        f"{scorer_named(cell)}{_caution(cell)}  {cell['loss_nats']:.4f} nats/token  {cell['bpb']:.4f} bits/byte  "
        f"{cell['targets']:,} targets  {cell['bytes']:,} bytes  loss:{cell['loss_nats']!r} bpb:{cell['bpb']!r}{mass}"
    )


def _caution(cell: Mapping[str, Any]) -> str:
    """Why a number is no code length; empty where it is one."""
    found = []
    if not cell["normalized"]:
        found.append(f"{_LEGACY} {cell['mass_mean']:.2f}")
    if not cell["causal"]:
        found.append(_NOT_CAUSAL)
    return f"  {', '.join(found)}: no code length" if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRead:
    """A scorer as a log has it; numbers to the last digit. mass_mean: 1 for a distribution."""

    name: str
    loss_nats: float
    bpb: float
    targets: int
    bytes: int
    normalized: bool
    causal: bool
    mass_mean: float


def scores_in(text: str) -> list[ScoreRead]:
    """The scorers of a log or of what an evaluation printed, in order; empty where there are none."""
    found = (_SCORER.fullmatch(line) for line in text.splitlines())
    return [_score_read(match) for match in found if match is not None]


def headline_in(text: str) -> tuple[float, float] | None:
    """Nats per token and bits per byte of the last result in a log; None where it has none that is a code length."""
    found = re.findall(r"^val_loss:(\S+) val_bpb:(\S+)$", text, re.MULTILINE)
    return (float(found[-1][0]), float(found[-1][1])) if found else None


def clock_s_in(text: str, what: str) -> float | None:
    """Seconds of the last clock of training or evaluation in a log; None where it has none."""
    found = re.findall(rf"^{what} clock  ([\d.]+) s of ", text, re.MULTILINE)
    return float(found[-1]) if found else None


def _score_read(match: re.Match[str]) -> ScoreRead:
    caution = match["caution"] or ""
    return ScoreRead(
        name=match["name"],
        loss_nats=float(match["loss"]),
        bpb=float(match["bpb"]),
        targets=int(match["targets"].replace(",", "")),
        bytes=int(match["bytes"].replace(",", "")),
        normalized=not caution.startswith(_LEGACY),
        causal=_NOT_CAUSAL not in caution,
        mass_mean=float(match["mass"] or 1.0),
    )


def text_of(lines: Iterable[str]) -> str:
    """Lines as a log's text."""
    return "".join(f"{line}\n" for line in lines)
