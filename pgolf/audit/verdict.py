"""What a check finds, and what it stands for."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Outcome = Literal["pass", "fail", "not applicable", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One observation. target: which of the text's targets it is about, 1..N, or None. values: numbers by name."""

    what: str
    target: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check says. because: one sentence, with numbers. settles: what would decide an inconclusive one."""

    outcome: Outcome
    because: str
    evidence: tuple[Evidence, ...] = ()
    settles: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a check took: evaluations asked for, targets in them, seconds."""

    calls: int
    targets: int
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A check's finding, under the check's number (B1 …) and name, with the rule that it stands for and its source."""

    number: str
    name: str
    rule: str
    finding: Finding
    cost: Cost

    @property
    def outcome(self) -> Outcome:
        """The finding's."""
        return self.finding.outcome

    def to_json(self) -> dict[str, Any]:
        """As plain data, the finding's fields beside the others."""
        data = asdict(self)
        return {**data, **data.pop("finding")}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises KeyError or TypeError for what is none."""
        evidence = tuple(Evidence(**one) for one in data["evidence"])
        finding = Finding(outcome=data["outcome"], because=data["because"], evidence=evidence, settles=data["settles"])
        return cls(
            number=data["number"], name=data["name"], rule=data["rule"], finding=finding, cost=Cost(**data["cost"])
        )


def by_number(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """In the order of the checks' numbers: B2, B13, B13s."""
    return sorted(verdicts, key=lambda one: (int(one.number.strip("Bs")), one.number))


def passed(because: str, *evidence: Evidence) -> Finding:
    """The check looked and found nothing wrong."""
    return Finding(outcome="pass", because=because, evidence=evidence)


def failed(because: str, *evidence: Evidence) -> Finding:
    """The rule is broken; the first piece of evidence is the smallest that shows it."""
    return Finding(outcome="fail", because=because, evidence=evidence)


def not_applicable(because: str) -> Finding:
    """There is nothing here that the rule is about, or nothing was given to look at."""
    return Finding(outcome="not applicable", because=because)


def inconclusive(because: str, settles: str, *evidence: Evidence) -> Finding:
    """The check could not decide. settles: what would."""
    return Finding(outcome="inconclusive", because=because, evidence=evidence, settles=settles)
