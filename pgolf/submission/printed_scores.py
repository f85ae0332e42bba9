"""The scores in what a program has printed: `val_loss` and `val_bpb` as people of this field print them, and lines of
JSON.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

# A name may end in it (`mean_val_bpb`); a training's own measurements on the way are no scores of a submission.
_MOST_CHARACTERS = 10_000
# Of others' text: repetitions are bounded, so that no line takes long, and a number has no more digits than a double.
_NUMBER = r"\W{0,3}(?<!-)(%s\d{1,9}\.\d{1,40}(?:[eE][-+]?\d{1,3})?)(?!\d)"
_BPB = re.compile(r"(?:val_|\b)bpb" + _NUMBER % "?P<bpb>")
_LOSS = re.compile(r"(?:val_|\b)loss" + _NUMBER % "?P<loss>")
_ON_THE_WAY = re.compile(r"\bstep\s{0,3}[:=]?\s{0,3}\d{1,20}\s{0,3}/")


@dataclass(frozen=True, slots=True)
class PrintedScore:
    """bits per byte and, where it is said, nats per token; both as text too, for digits are compared. line: whole."""

    bpb: float
    bpb_text: str
    loss_nats: float | None
    loss_text: str | None
    line: str


def lines_in(text: str) -> Iterator[str]:
    """Of others' text: what stands beyond ten thousand characters of a line is passed over."""
    return (line[:_MOST_CHARACTERS] for line in text.splitlines())


def printed_scores(text: str, *, on_the_way: bool = False) -> tuple[PrintedScore, ...]:
    """All scores, in the order of their lines. on_the_way: those of a training's steps too."""
    found = []
    for line in lines_in(text):
        if not on_the_way and _ON_THE_WAY.search(line):
            continue
        score = _of_json(line) if line.startswith("{") else _of_words(line)
        if score is not None and math.isfinite(score.bpb):
            found.append(score)
    return tuple(found)


def _of_words(line: str) -> PrintedScore | None:
    bpb, loss = _BPB.search(line), _LOSS.search(line)
    if bpb is None:
        return None
    text = loss["loss"] if loss else None
    return PrintedScore(float(bpb["bpb"]), bpb["bpb"], None if text is None else float(text), text, line)


def _of_json(line: str) -> PrintedScore | None:
    try:
        read = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(read, dict):
        return None
    bpb, loss = (next((read[name] for name in names if name in read), None) for names in _NAMES)
    if not isinstance(bpb, float):
        return None
    loss = loss if isinstance(loss, float) else None
    return PrintedScore(bpb, repr(bpb), loss, None if loss is None else repr(loss), line)


_NAMES = (("val_bpb", "bpb"), ("val_loss", "loss_nats"))
