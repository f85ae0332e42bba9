"""A whole comparison: its answer for people and for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pgolf.compare.arms import Arm
from pgolf.compare.comparison import Gain
from pgolf.compare.forest import forest
from pgolf.compare.sentence import sentence
from pgolf.compare.sheets import seeds_sheet, settings_sheet, verdicts_sheet
from pgolf.stats.compare import GainRule
from pgolf.tables.text import to_json, to_text, wrapped

_WIDTH = 80


@dataclass(frozen=True, slots=True)
class Compared:
    """Arms, the last of which is the base, and the gain of every other over it.

    notes: over what they are compared, where that needs saying, and then what is left out.
    """

    arms: Sequence[Arm]
    gains: Sequence[Gain]
    rule: GainRule
    notes: Sequence[str] = ()

    @property
    def sentences(self) -> list[str]:
        """The answer: a sentence per arm but the base."""
        return [sentence(gain) for gain in self.gains]

    def text(self, width: int | None = None) -> str:
        """The sentences, then the tables, then a figure of characters. width: columns of the terminal."""
        sheets = settings_sheet(self.arms), seeds_sheet(self.arms, self.rule.per), verdicts_sheet(self.gains)
        said = (*self.sentences, f"on {self.arms[-1].text}", *self.notes)
        parts = ["\n".join(part for line in said for part in wrapped(line, width)) + "\n"]
        parts += [to_text(sheet, width) for sheet in sheets]
        if lines := forest(self.gains, width or _WIDTH):
            parts.append("\n".join(lines) + "\n")
        return "\n".join(parts)

    def data(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "rule": asdict(self.rule),
            "note": "; ".join(self.notes) or None,
            "text": self.arms[-1].text.facts,
            "arms": [_arm(arm) for arm in self.arms],
            "settings": json.loads(to_json(settings_sheet(self.arms, most=None))),
            "gains": [_gain(gain) for gain in self.gains],
        }

    def __str__(self) -> str:
        return self.text(_WIDTH)


def _arm(arm: Arm) -> dict[str, Any]:
    scores: Mapping[str, Any] = {str(seed): asdict(score) for seed, score in sorted(arm.by_seed.items())}
    keys = [run.key for run in arm.runs]
    about = {"name": arm.name, "runs": keys, "scorer": arm.scorer, "notes": list(arm.notes)}
    missing = {"n_declared": arm.n_declared, "missing_seeds": [one.data() for one in arm.missing]}
    return about | {"seeds": scores} | missing


def _gain(gain: Gain) -> dict[str, Any]:
    tests = {"welch": gain.welch, "paired": gain.paired, "documents": gain.documents}
    return {
        "sentence": sentence(gain),
        "arm": gain.candidate.name,
        "base": gain.base.name,
        "gain_nats": gain.over_seeds.gain_nats,
        "gain_bpb": gain.gain_bpb,
        "gain_nats_per_byte": gain.gain_nats_per_byte,
        "test": gain.over_seeds.test,
        "p": gain.p_value,
        "passes": gain.passes,
        "seeds_wanted": gain.seeds_wanted,
        "no_documents": gain.no_documents or None,
        **{name: None if test is None else asdict(test) for name, test in tests.items()},
    }
