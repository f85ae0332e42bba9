"""How likely the audit's checks are to find each cheat of the zoo, by the number of places that they look at.

`python -m bench.audit_power [--seed N] [--zoo DIR]`: asks at every place of a made text whether a check convicts there,
for B1 and B2 (cuts), B3 (all tokens of the vocabulary) and B4 (a few likely ones). From the share s of convicting
places, n places drawn at random from a long text convict with a probability of 1 - (1 - s)^n. Prints the table of
docs/audit.md.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgolf.audit.audit_text import Replacement
from pgolf.audit.causality_check import widest_replacement
from pgolf.audit.effort import DEFAULT
from pgolf.audit.partial_sums_check import likely_tokens
from pgolf.audit.replaced_future import change_before
from pgolf.audit.self_test import ZOO, Member, load_zoo, subject_of
from pgolf.audit.small_network import made_text
from pgolf.audit.trial import Trial

PLACES = (1, 4, 16, 64, 256)
_SHOWN = 0.9995  # and above: as certain as three digits tell
_NEARLY_ALL = 0.9


@dataclass(frozen=True, slots=True)
class Power:
    """At what share of the places a check convicts a cheat."""

    cheat: str
    check: str
    share: float

    def after(self, places: int) -> float:
        """Probability that one of so many places convicts."""
        return 1 - (1 - self.share) ** places


def powers(member: Member, seed: int) -> Iterator[Power]:
    """Of the checks that look at places, for one cheat."""
    text = made_text(seed)
    trial = Trial(subject_of(member, text, seed), text, seed=seed)
    _ = trial.noise  # the text as it is comes first, as in a trial
    N = text.targets
    futures: tuple[Replacement, ...] = (widest_replacement(trial), "easy tokens")
    cuts = [any(change_before(trial, cut, how) is not None for how in futures) for cut in range(1, N)]
    yield Power(member.name, "B1, B2", float(np.mean(cuts)))
    whole, partial = [], []
    for target in range(1, N + 1):
        if text.tokens[target] not in trial.tries:
            continue
        losses = trial.enumerated(target)
        over = float(np.exp(-losses).sum()) - 1
        tolerance = trial.precision.mass_tolerance(losses, trial.noise)
        whole.append(over > tolerance or (over < -tolerance and not trial.knows_lengths))
        few = trial.candidate_losses(target, likely_tokens(trial, target, DEFAULT.candidates))
        partial.append(float(np.exp(-few).sum()) - 1 > trial.precision.mass_tolerance(few, trial.noise))
    yield Power(member.name, "B3", float(np.mean(whole)))
    yield Power(member.name, "B4", float(np.mean(partial)))


def table(found: list[Power]) -> Iterator[str]:
    """Markdown; a line for each check that convicts a cheat somewhere, and a sentence on those that do everywhere."""
    yield "| cheat | check | share | " + " | ".join(f"n = {places:,}" for places in PLACES) + " |"
    yield "|---|---|--:|" + "--:|" * len(PLACES)
    for power in found:
        if 0 < power.share < _NEARLY_ALL:
            chances = [power.after(places) for places in PLACES]
            shown = ["1" if chance >= _SHOWN else f"{chance:.3f}" for chance in chances]
            yield f"| {power.cheat} | {power.check} | {power.share:.1%} | {' | '.join(shown)} |"
    yield ""
    for check in dict.fromkeys(power.check for power in found):
        some = [power.cheat for power in found if power.check == check and power.share >= _NEARLY_ALL]
        yield f"{check} convict at {_NEARLY_ALL:.0%} of the places or more: {', '.join(some)}."


def main() -> None:
    """Print the table, a cheat after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--zoo", type=Path, default=ZOO)
    arguments = parser.parse_args()
    found = []
    for member in load_zoo(arguments.zoo):
        if member.kind == "cheat" and {*member.convicted_by} & {"B1", "B2", "B3", "B4"}:
            found += powers(member, arguments.seed)
    for line in table(found):
        print(line)


if __name__ == "__main__":
    main()
