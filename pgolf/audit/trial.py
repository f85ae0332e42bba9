"""A trial under way: it asks the scorer, checks that an answer is one, remembers it, and counts what was asked.

Shapes: N targets, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.effort import DEFAULT, Effort
from pgolf.audit.noise import Noise, Precision, noise_of, precision_of
from pgolf.audit.orders import Places
from pgolf.audit.scorer import (
    Apart,
    Closable,
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
from pgolf.errors import MachineError


class Trial:
    """One subject on one text. Everything random is drawn from `seed`, for each check from the start.

    faults: answers that were none, in the order in which they came. Every method that asks raises ScorerFault for one.
    """

    def __init__(self, subject: Subject, text: AuditText, *, effort: Effort = DEFAULT, seed: int = 0) -> None:
        self.subject, self.text, self.effort, self.seed = subject, text, effort, seed
        self.calls = self.targets = 0
        self.faults: list[ScorerFault] = []
        self._answers: dict[bytes, Losses] = {}
        self._fed: dict[tuple[int, ...], Losses] = {}

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
        return self._offers[0]

    @property
    def tells_distributions(self) -> bool:
        """Whether its sessions tell the distribution of the next target."""
        return self._offers[1]

    @property
    def apart(self) -> bool:
        """Whether it is a process of its own, which has nothing of the text but what it was fed."""
        return isinstance(self.scorer, Apart)

    @cached_property
    def _offers(self) -> tuple[bool, bool]:
        if not self.takes_pieces:
            return False, False
        with self.evaluation() as session:
            return isinstance(session, Forkable), isinstance(session, Distributed)

    @contextmanager
    def evaluation(self) -> Iterator[Session]:
        """A new evaluation of the text, of a scorer that takes pieces."""
        assert isinstance(self.scorer, Feedable)
        self._count(0)
        try:
            session = self.scorer.start(int(self.text.tokens[0]), self.text.targets)
        except Exception as error:
            raise self._noted(error) from error
        try:
            yield session
        finally:
            if isinstance(session, Closable):
                session.close()

    def fed(self, ends: Sequence[int]) -> Losses:
        """The losses of the text fed in pieces that end after so many targets each, [N]; asked for once."""
        key = tuple(ends)
        if key not in self._fed:
            with self.evaluation() as session:
                pieces = [self.text.tokens[first + 1 : end + 1] for first, end in zip((0, *key), key)]
                self._fed[key] = np.concatenate([self.feed(session, piece) for piece in pieces])
        return self._fed[key]

    @property
    def division_nats(self) -> float:
        """The largest difference at a target between a program's answer in pieces and in one: the shapes of its arrays
        differ, and with them the rounding. 0 for a scorer that is asked about texts of one length alone.
        """
        if not self.apart:
            return 0.0
        if not self._fed:
            self.fed([*range(1, self.text.targets, 7), self.text.targets])
        return max(float(np.abs(losses - self.base).max()) for losses in self._fed.values())

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
        if self.apart:
            return np.array([self._after_own_start(target, candidates[i : i + 1]) for i in range(len(candidates))])
        return np.array([self.losses(self.with_target(target, int(token)))[target - 1] for token in candidates])

    def enumerated(self, target: int) -> Losses:
        """The loss of every token of the vocabulary as that target, [V]."""
        return self.candidate_losses(target, np.arange(self.text.vocab_size, dtype=np.uint16))

    def enumerated_in_order(self, targets: list[int]) -> Iterator[tuple[int, Losses]]:
        """Each of the targets with `enumerated` of it; by forks of one session where the scorer offers them."""
        each = np.arange(self.text.vocab_size, dtype=np.uint16)
        yield from self._in_order(dict.fromkeys(targets, each), in_one=self.forks or self._tells_apart)

    def tried_in_order(self, wanted: Mapping[int, Tokens]) -> Iterator[tuple[int, Losses]]:
        """Each of the targets with the loss that each of its tokens would have had there.

        A program that runs apart is asked in one evaluation where it offers that.
        """
        yield from self._in_order(wanted, in_one=self.apart and (self.forks or self._tells_apart))

    def affordable(self, targets: int, tokens: int) -> int:
        """Of so many targets, with so many tokens each, those at which all can be tried with the effort's `starts`."""
        if not self.apart or self.forks or self._tells_apart:
            return targets
        return min(targets, self.effort.starts // tokens)

    def next_losses(self, session: Session, tokens: Tokens) -> Losses:
        """The losses of these tokens as the next target: by a fork each, else by what the session tells."""
        if self.forks:
            return np.array([self.feed(self.fork(session), tokens[i : i + 1])[0] for i in range(len(tokens))])
        return self.distribution(session)[tokens]

    @property
    def _tells_apart(self) -> bool:
        """What a program tells before it has been fed a target is no different for any of them."""
        return self.apart and self.tells_distributions

    def _in_order(self, wanted: Mapping[int, Tokens], *, in_one: bool) -> Iterator[tuple[int, Losses]]:
        if not in_one:
            for target, tokens in wanted.items():
                yield target, self.candidate_losses(target, tokens)
            return
        with self.evaluation() as session:
            fed = 0
            for target in sorted(wanted):
                if target - 1 > fed:
                    self.feed(session, self.text.tokens[fed + 1 : target])
                    fed = target - 1
                yield target, self.next_losses(session, wanted[target])

    def _after_own_start(self, target: int, token: Tokens) -> float:
        with self.evaluation() as session:
            if target > 1:
                self.feed(session, self.text.tokens[1:target])
            return float(self.feed(session, token)[0])

    def _count(self, targets: int) -> None:
        self.calls += 1
        self.targets += targets

    def _noted(self, error: Exception) -> ScorerFault:
        if isinstance(error, MachineError):
            raise error  # this machine's lack, and no fault of the scorer
        fault = error if isinstance(error, ScorerFault) else ScorerFault("error", f"{type(error).__name__}: {error}")
        self.faults.append(fault)
        return fault
