"""A program on trial, with the submission that it is of: its verdicts, and what folder and room say besides."""

import math
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from pgolf.audit import (
    byte_count_check,
    clocks_check,
    seeds_check,
    self_containment_check,
    shipped_bytes_check,
    submission_folder_check,
)
from pgolf.audit.audit import audit
from pgolf.audit.dossier import Dossier, DossierCheck
from pgolf.audit.effort import EFFORTS
from pgolf.audit.program_process import Limits
from pgolf.audit.ruleset import Ruleset
from pgolf.audit.self_containment_check import of_room
from pgolf.audit.submitted import Submitted, submitted
from pgolf.audit.tried_program import DEFAULT_TARGETS, declared_by, shard_text, train_shards, tried_program
from pgolf.audit.verdict import Outcome, Verdict, by_number
from pgolf.errors import ConfigError
from pgolf.pipeline.run_report import write_page
from pgolf.recipes.recipe import Effort
from pgolf.report.audit_page import audit_page

OF_DOSSIER: tuple[DossierCheck, ...] = (
    self_containment_check.CHECK,
    byte_count_check.CHECK,
    shipped_bytes_check.CHECK,
    clocks_check.CHECK,
    seeds_check.CHECK,
    submission_folder_check.CHECK,
)

_DEFAULT_LIMITS = Limits()
# From which a program's seed is drawn: too many for it to prepare for each.
_SEEDS = 2**48

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedProgram:
    """What `pgolf audit --exec` is asked, each under its option's name.

    program: as typed in its folder. folder: None for the current one, which is then no submission. seed: None for one
    that nobody knows before. whole_text: score all tokens once, and hold the report against that.
    """

    program: str
    tokens: Path | None
    tokenizer: Path | None = None
    folder: Path | None = None
    show: Sequence[Path] = ()
    declare: Sequence[str] = ()
    piece_targets: int | None = None
    of_seed: int | None = None
    targets: int | None = None
    seed: int | None = None
    effort: Effort = "default"
    train_shards: Path | None = None
    reported_bpb: Decimal | None = None
    reported_loss: Decimal | None = None
    size_bytes: int | None = None
    whole_text: bool = False
    start_s: float = _DEFAULT_LIMITS.start_s
    answer_s: float = _DEFAULT_LIMITS.answer_s
    evaluation_s: float = _DEFAULT_LIMITS.evaluation_s

    @property
    def words(self) -> list[str]:
        """The program and its arguments. Raises ConfigError for a quotation without an end."""
        try:
            return shlex.split(self.program)
        except ValueError as error:
            raise ConfigError(f"--exec {self.program}: {error}") from None

    def check(self) -> Path:
        """Its tokens. Raises ConfigError for what asks for nothing that can be done."""
        if self.tokens is None:
            raise ConfigError("--exec takes the tokens to try the program on: --tokens FILE_OR_DIR")
        for name in ("start_s", "answer_s", "evaluation_s"):
            if not (math.isfinite(value := getattr(self, name)) and value > 0):
                raise ConfigError(f"--{name.replace('_', '-')} takes a number above 0, got {value:g}")
        if self.piece_targets is not None and self.piece_targets < 1:
            raise ConfigError(f"--piece-targets is at least 1, got {self.piece_targets}")
        return self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramTrial:
    """What came out of a program's trial. isolation: its room. starts: how often it was started."""

    name: str
    outcome: Outcome
    rules: Ruleset
    verdicts: Sequence[Verdict]
    isolation: str
    starts: int
    targets: int
    vocab_size: int
    seed: int
    wall_s: float

    @property
    def id(self) -> str:
        """The same for trials that found the same of one program."""
        told = repr([self.name, self.rules.label, [(one.number, one.finding.because) for one in self.verdicts]])
        return f"audit-program-{sha256(told.encode()).hexdigest()[:12]}"

    @property
    def text(self) -> str:
        """What it was tried on, in words."""
        return f"{self.targets:,} targets of {self.vocab_size:,} tokens"

    def write(self, page: Path, *, option: str = "--page") -> Path:
        """Write a page of the verdicts. option: that names it, for an error."""
        trial = {"name": self.name, "outcome": self.outcome, "verdicts": [one.to_json() for one in self.verdicts]}
        facts = {"text": self.text, "rules": self.rules.label, "room": self.isolation}
        write_page(page, audit_page([trial], facts=facts), option=option)
        return page

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "outcome": self.outcome,
            "program": self.name,
            "ruleset": self.rules.name,
            "ruleset_dated": f"{self.rules.dated}",
            "isolation": self.isolation,
            "starts": self.starts,
            "targets": self.targets,
            "vocab_size": self.vocab_size,
            "seed": self.seed,
            "wall_s": round(self.wall_s, 1),
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
        }


def program_on_trial(asked: AskedProgram, rules: Ruleset, *, say: Say = lambda _text: None) -> ProgramTrial:
    """Try a program, and the submission in its folder if there is one.

    say: is told what begins, and each verdict. Raises ConfigError for what cannot be tried.
    """
    tokens, words = asked.check(), asked.words
    declared, told = declared_by(asked.declare), _submitted(asked)
    trained_on = () if asked.train_shards is None else train_shards(asked.train_shards)
    text = shard_text(tokens, asked.tokenizer, targets=asked.targets or DEFAULT_TARGETS)
    began_s = time.monotonic()
    if asked.whole_text:
        say(f"scoring all {text.whole.targets:,} targets, at most {asked.evaluation_s:,.0f} s")
    with tried_program(
        words,
        text,
        folder=asked.folder or Path(),
        declared=declared,
        shown=asked.show,
        limits=Limits(start_s=asked.start_s, answer_s=asked.answer_s, evaluation_s=asked.evaluation_s),
        piece_targets=asked.piece_targets,
        reported=told.about(text.whole),
        trained_on=trained_on,
        score_whole=asked.whole_text,
    ) as tried:
        for path in tried.hidden:
            say(f"{path} holds the text, so the program does not find it")
        found = audit(
            tried.subject,
            text.text,
            effort=EFFORTS[asked.effort],
            # A program that knows what will be asked can be honest there, and there alone.
            seed=secrets.randbelow(_SEEDS) if asked.seed is None else asked.seed,
            listen=lambda verdict: say(
                f"{verdict.number} {verdict.name}: {verdict.outcome}, {verdict.cost.wall_s:.1f} s"
            ),
        )
        dossier = Dossier(folder=told.findings, folder_seeds=told.seeds, room=of_room(tried.scorer))
        verdicts = by_number((*found.verdicts, *(check.verdict(dossier) for check in OF_DOSSIER)))
        return ProgramTrial(
            name=found.name,
            outcome=rules.outcome(verdicts, record=told.is_record),
            rules=rules,
            verdicts=verdicts,
            isolation=tried.scorer.isolation,
            starts=tried.scorer.starts,
            targets=found.targets,
            vocab_size=found.vocab_size,
            seed=found.seed,
            wall_s=time.monotonic() - began_s,
        )


def _submitted(asked: AskedProgram) -> Submitted:
    """What the folder says, if it was named: whatever lies in the current one is no submission by that alone."""
    if asked.folder is None and asked.of_seed is not None:
        raise ConfigError(f"--of-seed {asked.of_seed} is of a submission; name its folder with --folder DIR")
    if asked.folder is not None and not asked.folder.is_dir():
        raise ConfigError(f"{asked.folder} is no folder")
    told = Submitted() if asked.folder is None else submitted(asked.folder, seed=asked.of_seed)
    told = told.with_numbers(bpb=asked.reported_bpb, loss_nats=asked.reported_loss, size_bytes=asked.size_bytes)
    if asked.whole_text and len(told.of_seeds) > 1:
        raise ConfigError(
            f"{asked.folder} reports the mean of seeds {', '.join(map(str, told.of_seeds))}, and --whole-text "
            "scores one model; say with --of-seed N of which seed it is"
        )
    return told
