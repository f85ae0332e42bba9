"""What a seed's log says of its run beside the scores, whoever's script has printed it: of each quantity all values.

Two ways of printing are known: that of pgolf's scripts, and `name:value` as the challenge's own script has it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from pgolf.submission.printed_scores import lines_in

# Every repetition is bounded: the text is others'.
_INTEGER = r"(\d[\d,]{0,20})"
_STEP = re.compile(rf"\bstep\s{{0,3}}:?\s{{0,3}}{_INTEGER}/{_INTEGER}")
_TRAINED = re.compile(rf"trained  seed (\d{{1,20}})  {_INTEGER} steps")
_SEED = re.compile(r"\s{0,8}seed\s{0,3}[:=]\s{0,3}(\d{1,20})\s{0,8}")
_CLOCK = re.compile(r"(training|evaluation) clock  (\d{1,9}\.\d) s of ")
_TRAIN_MS = re.compile(r"\btrain_time:(\d{1,12}(?:\.\d{1,9})?)ms")
_EVAL_MS = re.compile(r"\beval_time:(\d{1,12}(?:\.\d{1,9})?)ms")
_STEP_MS = re.compile(r"\bstep_avg:(\d{1,12}(?:\.\d{1,9})?)ms")
_TEXT = re.compile(rf"  {_INTEGER} targets  {_INTEGER} bytes  ")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFacts:
    """Empty, or None, where it does not say. seeds: that it names as its own. steps, of them the last that it says.

    steps_until: the training may have gone on to less than this unsaid. train_s, eval_s: seconds of the training's
    clock, and of each evaluation. step_ms: mean of a step. targets, text_bytes: of the text scored.
    """

    seeds: frozenset[int]
    steps: int | None
    steps_until: int
    train_s: Decimal | None
    eval_s: tuple[Decimal, ...]
    step_ms: Decimal | None
    targets: frozenset[int]
    text_bytes: frozenset[int]

    @property
    def whole_eval_s(self) -> Decimal | None:
        """Seconds of all evaluations together."""
        return sum(self.eval_s, Decimal()) if self.eval_s else None


def facts_in(log: str) -> LogFacts:
    """Of the text of a log."""
    lines = list(lines_in(log))
    trained = [match for line in lines if (match := _TRAINED.match(line))]
    clocks = [match for line in lines if (match := _CLOCK.match(line))]
    named = [match for line in lines if (match := _SEED.fullmatch(line))]
    texts = [match for line in lines if (match := _TEXT.search(line))]
    told = [(_whole(match[1]), _whole(match[2])) for line in lines if (match := _STEP.search(line))]
    steps = sorted({step for step, _ in told})
    until = steps[-1] + 1 if steps else 0
    # A log that says every hundredth step does not say the last, unless that is where it stopped.
    if len(steps) > 1 and told[-1][0] != told[-1][1] and not any("stopping" in line for line in lines):
        until = 2 * steps[-1] - steps[-2]
    if trained:
        steps = [_whole(trained[-1][2])]
        until = steps[0] + 1
    train_s = [Decimal(match[2]) for match in clocks if match[1] == "training"] or _seconds(_TRAIN_MS, lines)
    eval_s = [Decimal(match[2]) for match in clocks if match[1] == "evaluation"][-1:] or _seconds(_EVAL_MS, lines)
    step_ms = _seconds(_STEP_MS, lines)
    return LogFacts(
        seeds=frozenset(int(match[1]) for match in (*trained, *named)),
        steps=steps[-1] if steps else None,
        steps_until=until,
        train_s=train_s[-1] if train_s else None,
        eval_s=tuple(eval_s),
        step_ms=step_ms[-1] * 1000 if step_ms else None,
        targets=frozenset(_whole(match[1]) for match in texts),
        text_bytes=frozenset(_whole(match[2]) for match in texts),
    )


def _whole(text: str) -> int:
    return int(text.replace(",", ""))


def _seconds(pattern: re.Pattern[str], lines: Iterable[str]) -> list[Decimal]:
    """Of milliseconds, in order."""
    return [Decimal(match[1]).scaleb(-3) for line in lines if (match := pattern.search(line))]
