"""A trial under way: it asks the scorer, checks that an answer is one, remembers it, and counts what was asked.

Shapes: N targets, V vocabulary.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.effort import DEFAULT, Effort
from pgolf.audit.noise import Noise, Precision, noise_of, precision_of
from pgolf.audit.orders import Places
from pgolf.audit.scorer import (
    Distributed,
    Feedable,
    Forkable,
    Losses,
    Scorer,
    ScorerFault,
    Session,
    Tokens,
    checked_losses,
)
from pgolf.audit.subject import Subject


class Trial:
    """One subject on one text. Everything random is drawn from `seed`, for each check from the start.

    faults: answers that were none, in the order in which they came. Every method that asks raises ScorerFault for one.
    """

    def __init__(self, subject: Subject, text: AuditText, *, effort: Effort = DEFAULT, seed: int = 0) -> None:
        self.subject, self.text, self.effort, self.seed = subject, text, effort, seed
        self.calls = self.targets = 0
        self.faults: list[ScorerFault] = []
        self._answers: dict[bytes, Losses] = {}

    def rng(self, check: str) -> np.random.Generator:
        """Random numbers of one check, the same whatever other checks drew."""
        return np.random.default_rng([self.seed, *check.encode()])

    @property
    def scorer(self) -> Scorer:
        """The scorer on trial."""
        return self.subject.scorer

    @cached_property
    def base(self) -> Losses:
        """Its first answer about the text, [N]: what it would be ranked by."""
        return self.losses(self.text.tokens)

    @cached_property
    def runs(self) -> list[Losses]:
        """Identical runs over the text, the first one included."""
        return [self.base, *(self.ask(self.text.tokens) for _ in range(self.effort.runs - 1))]

    @cached_property
    def noise(self) -> Noise:
        """How far identical runs are apart."""
        return noise_of(self.runs)

    @cached_property
    def precision(self) -> Precision:
        """The format that the losses come in."""
        return precision_of(self.base)

    @cached_property
    def places(self) -> Places:
        """When each target is scored, by what the author declares, [N]."""
        return self.subject.declared.places(self.text.tokens, self.text.bos_id)

    def losses(self, tokens: Tokens) -> Losses:
        """The scorer's answer about a text, asked for once."""
        key = tokens.tobytes()
        if key not in self._answers:
            self._answers[key] = self.ask(tokens)
        return self._answers[key]

    def ask(self, tokens: Tokens, scorer: Scorer | None = None) -> Losses:
        """A new evaluation of a text, by the scorer or by a variant of it."""
        self._count(len(tokens) - 1)
        try:
            # A copy: a scorer that writes into its input changes nothing here.
            answer = (scorer or self.scorer).score(tokens.copy())
            return checked_losses(answer, len(tokens) - 1)
        except Exception as error:
            raise self._noted(error) from error

    @property
    def takes_pieces(self) -> bool:
        """Whether the scorer takes a text piece by piece."""
        return isinstance(self.scorer, Feedable)

    @property
    def forks(self) -> bool:
        """Whether its sessions can be copied."""
        return isinstance(self.scorer, Feedable) and isinstance(self._session(), Forkable)

    @property
    def tells_distributions(self) -> bool:
        """Whether its sessions tell the distribution of the next target."""
        return isinstance(self.scorer, Feedable) and isinstance(self._session(), Distributed)

    def _session(self) -> Session:
        assert isinstance(self.scorer, Feedable)
        try:
            return self.scorer.start(int(self.text.tokens[0]), self.text.targets)
        except Exception as error:
            raise self._noted(error) from error

    def start(self) -> Session:
        """Begin a new evaluation of the text, of a scorer that takes pieces."""
        self._count(0)
        return self._session()

    def feed(self, session: Session, tokens: Tokens) -> Losses:
        """The losses of the next tokens."""
        self.targets += len(tokens)
        try:
            return checked_losses(session.feed(tokens.copy()), len(tokens))
        except Exception as error:
            raise self._noted(error) from error

    def fork(self, session: Session) -> Session:
        """A copy of a session that can be copied."""
        assert isinstance(session, Forkable)
        try:
            return session.fork()
        except Exception as error:
            raise self._noted(error) from error

    def distribution(self, session: Session) -> Losses:
        """-ln p of the next target for every token, [V]; of a session that tells it."""
        assert isinstance(session, Distributed)
        try:
            return checked_losses(-np.asarray(session.distribution(), dtype=np.float64), self.text.vocab_size)
        except Exception as error:
            raise self._noted(error) from error

    def with_target(self, target: int, token: int) -> Tokens:
        """The text with another token as that target, 1..N."""
        tokens = self.text.tokens.copy()
        tokens[target] = token
        return tokens

    def candidate_losses(self, target: int, candidates: Tokens) -> Losses:
        """The loss that each of these tokens would have had as that target, by scoring the text with it there."""
        return np.array([self.losses(self.with_target(target, int(token)))[target - 1] for token in candidates])

    def enumerated(self, target: int) -> Losses:
        """The loss of every token of the vocabulary as that target, [V]."""
        return self.candidate_losses(target, np.arange(self.text.vocab_size, dtype=np.uint16))

    def enumerated_in_order(self, targets: list[int]) -> Iterator[tuple[int, Losses]]:
        """Each of the targets with `enumerated` of it; by forks of one session where the scorer offers them."""
        if not self.forks:
            for target in targets:
                yield target, self.enumerated(target)
            return
        session, fed = self.start(), 0
        for target in sorted(targets):
            if target - 1 > fed:
                self.feed(session, self.text.tokens[fed + 1 : target])
                fed = target - 1
            each = np.arange(self.text.vocab_size, dtype=np.uint16)
            yield target, np.array([self.feed(self.fork(session), each[v : v + 1])[0] for v in range(len(each))])

    def _count(self, targets: int) -> None:
        self.calls += 1
        self.targets += targets

    def _noted(self, error: Exception) -> ScorerFault:
        fault = error if isinstance(error, ScorerFault) else ScorerFault("error", f"{type(error).__name__}: {error}")
        self.faults.append(fault)
        return fault
