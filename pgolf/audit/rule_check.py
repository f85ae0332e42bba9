"""A check: the rule that it stands for, and the function that looks."""

from collections.abc import Callable
from dataclasses import dataclass

from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCheck:
    """number: B1 … B19. rule: what must hold, and who said so (#n: an issue or pull request of the challenge)."""

    number: str
    name: str
    rule: str
    find: Callable[[Trial], Finding]
