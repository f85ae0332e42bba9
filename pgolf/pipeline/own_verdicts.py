"""What the trial of a run's own scorers says: columns of their rows, and lines for a person."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgolf.audit.ruleset import Ruleset, ruleset
from pgolf.audit.verdict import Outcome, Verdict
from pgolf.compare.arms import NETWORK
from pgolf.errors import ArtifactError
from pgolf.store.artifact import Artifact
from pgolf.tables.gates import RULESET
from pgolf.tables.ranked import NEURAL

_FILE, _SECONDS_FILE = "verdicts.json", "seconds.json"  # pgolf.audit.audit_stage, which loads torch
_WORDS: Mapping[Outcome, str] = {"fail": "fails", "inconclusive": "undecided"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnVerdict:
    """Of one scorer, by the rules that rows are judged by. cell: its name in the rows. found: verdicts of that kind."""

    cell: str
    outcome: Outcome
    found: Sequence[Verdict]

    @property
    def name(self) -> str:
        """What a person calls it, as tables and comparisons do."""
        settings = json.loads(self.cell)
        if settings["estimator"] == NEURAL["estimator"]:
            return NETWORK
        return " ".join(str(settings[part]) for part in ("estimator", "mixer") if settings.get(part) is not None)

    @property
    def text(self) -> str:
        """What its trial came to, where that is no pass."""
        said = "; ".join(f"{one.number} {one.name}: {one.finding.because}" for one in self.found[:2])
        return f"{self.name} {_WORDS[self.outcome]}: {said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnVerdicts:
    """audit_id: the output that has all of it. effort: how hard was asked."""

    audit_id: str
    effort: str
    scorers: Sequence[OwnVerdict]

    def columns(self) -> dict[str, dict[str, Any]]:
        """A scorer's `cell` -> its columns `audit_id` and `audited`."""
        return {one.cell: {"audit_id": self.audit_id, "audited": one.outcome == "pass"} for one in self.scorers}

    def data(self) -> dict[str, Any]:
        """As plain data."""
        scorers = [{"scorer": json.loads(one.cell), "outcome": one.outcome} for one in self.scorers]
        return {"audit_id": self.audit_id, "effort": self.effort, "scorers": scorers}

    def lines(self) -> list[str]:
        """One line per scorer that did not pass, and one for the others."""
        held = [f"audit: {one.text}; its rows are marked and not ranked" for one in self.scorers if one.found]
        passing = ", ".join(one.name for one in self.scorers if one.outcome == "pass")
        return [*held, *([f"audited ({self.effort}): {passing}: no check found anything wrong"] if passing else [])]


def verdicts_of(trial: Artifact) -> Mapping[str, Any]:
    """What the audit stage wrote, with the seconds of each check. Raises ArtifactError for an unreadable file."""
    path = trial.path / _FILE
    try:
        document: Mapping[str, Any] = json.loads(path.read_bytes())
        path = trial.path / _SECONDS_FILE
        seconds = json.loads(path.read_bytes())
        for entry in document["scorers"]:
            for verdict in entry["verdicts"]:
                verdict["cost"]["wall_s"] = seconds[entry["cell"]][verdict["number"]]
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); try the scorers again") from error
    return document


def own_verdicts(trial: Artifact) -> OwnVerdicts:
    """What a run's trial says. Raises ArtifactError for a file that cannot be read."""
    rules, document = ruleset(RULESET), verdicts_of(trial)
    scorers = [own_verdict(entry, rules) for entry in document["scorers"]]
    return OwnVerdicts(audit_id=trial.path.name, effort=document["effort"], scorers=scorers)


def own_verdict(entry: Mapping[str, Any], rules: Ruleset) -> OwnVerdict:
    """What one scorer's entry says under these rules."""
    verdicts = [Verdict.from_json(one) for one in entry["verdicts"]]
    outcome = rules.outcome(verdicts)
    found = [one for one in verdicts if one.outcome == outcome] if outcome != "pass" else []
    return OwnVerdict(cell=entry["cell"], outcome=outcome, found=found)
