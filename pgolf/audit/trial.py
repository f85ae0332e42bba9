"""A trial under way: it asks the scorer, checks that an answer is one, remembers it, and counts what was asked.

Shapes: N targets, V vocabulary, T targets that are asked for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.effort import DEFAULT, Effort
from pgolf.audit.noise import Noise, Precision, difference, noise_of, precision_of, reordered_nats
from pgolf.audit.orders import Places
from pgolf.audit.scorer import (
    Apart,
    Closable,
    Distributed,
    Feedable,
    Foretelling,
    Forkable,
    Losses,
    Scorer,
    ScorerFault,
    Session,
    Tokens,
    checked_losses,
)
from pgolf.audit.strata import OF_LOSSES, spread_over, strata
from pgolf.audit.subject import Subject
from pgolf.audit.wager import Drawn, with_drawn
from pgolf.errors import MachineError

_REMEMBERED_BYTES = 64 << 20
# Of a text's targets, in one text after the other: many draws, and contexts that are still the text's.
_DRAWN_SHARES = (1 / 2, 1 / 8)


class Trial:
    """One subject on one text. Everything random is drawn from `seed`, for each check from the start.

    faults: answers that were none, in the order in which they came. Every method that asks raises ScorerFault for one.
    """

    def __init__(self, subject: Subject, text: AuditText, *, effort: Effort = DEFAULT, seed: int = 0) -> None:
        self.subject, self.text, self.effort, self.seed = subject, text, effort, seed
        self.calls = self.targets = 0
        self.faults: list[ScorerFault] = []
        self._answers: dict[bytes, Losses] = {}
        self._room = _REMEMBERED_BYTES
        self._runs: list[Losses] = []
        self._noise: Noise | None = None
        self._looked_again = False
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

    @property
    def runs(self) -> list[Losses]:
        """Identical runs over the text in the order they were made in, the first one included."""
        if not self._runs:
            self._run_until(self.effort.runs)
        return self._runs

    @property
    def noise(self) -> Noise:
        """How far identical runs are apart."""
        if self._noise is None:
            self._noise = noise_of(self.runs)
        return self._noise

    def look_again(self) -> bool:
        """Before the first accusation: runs that agreed so far may still differ once in a while. Whether they do."""
        if self._looked_again:
            return False
        self._looked_again = True
        try:
            before_nats = self.noise.largest_nats
            self._run_until(self.effort.noisy_runs)
        except ScorerFault:
            return False  # noted, for B0
        return self.noise.largest_nats > before_nats

    def _run_until(self, count: int) -> None:
        """Run so often at least; where runs differ, as often as it takes to say how far."""
        while len(self._runs) < count:
            self._runs.append(self.ask(self.text.tokens) if self._runs else self.base)
        self._noise = noise_of(self._runs)
        if self._noise.largest_nats > 0 and len(self._runs) < self.effort.noisy_runs:
            self._run_until(self.effort.noisy_runs)

    @cached_property
    def precision(self) -> Precision:
        """The format that the losses come in."""
        return precision_of(self.base)

    @cached_property
    def places(self) -> Places:
        """When each target is scored, by what the author declares, [N]."""
        return self.subject.declared.places(self.text.tokens, self.text.bos_id)

    @cached_property
    def easiest_next(self) -> Tokens:
        """The token that costs least after each token, [V], among those seen there in the text and in the other one.

        A text that goes on by it is as easy as one can be for this scorer: what it learns from a text, or chooses when
        it has seen it, differs most from what it does on the text as it is.
        """
        other = self.text.with_replaced(np.ones(self.text.targets + 1, dtype=bool), "another text", self.rng("easy"))
        texts = (other, self.text.tokens)
        before, after = (np.concatenate([tokens[part] for tokens in texts]) for part in (slice(-1), slice(1, None)))
        loss = np.concatenate([self.losses(tokens) for tokens in texts])
        ordinary = self.text.tokens[self.text.tokens != self.text.bos_id]
        next_V = np.full(self.text.vocab_size, ordinary[-1] if len(ordinary) else 0, dtype=np.uint16)
        for place in np.argsort(-loss, kind="stable"):  # the cheapest comes last, and stays
            if after[place] != self.text.bos_id:
                next_V[before[place]] = after[place]
        return next_V

    def off(self, losses: Losses) -> Losses:
        """How far other answers about the text are from the first one, beyond noise and rounding; 0 within, [N]."""
        apart = difference(losses, self.base)
        return np.where(apart > self.tolerance_nats(self.base), apart, 0.0)

    def tolerance_nats(self, losses: Losses) -> Losses:
        """What two answers about the same must differ by to differ, [N]."""
        return self.noise.tolerance_nats + reordered_nats(losses)

    @cached_property
    def drawn(self) -> list[Drawn]:
        """Texts in which tokens were drawn by lot, asked of a copy that has seen nothing where there is one."""
        rng, text, copy = self.rng("lot"), self.text, self.fresh()
        ordinary = np.setdiff1d(np.arange(text.vocab_size), [] if text.bos_id is None else [text.bos_id])
        found = []
        for number in range(self.effort.drawn):
            share = _DRAWN_SHARES[number % len(_DRAWN_SHARES)]
            tokens, targets = with_drawn(text.tokens, ordinary.astype(np.uint16), text.bos_id, share, rng)
            found.append(Drawn(tokens, targets, self.ask(tokens, copy)))
        return found

    def losses(self, tokens: Tokens) -> Losses:
        """The scorer's answer about a text, asked for once (as long as answers find room)."""
        key = tokens.tobytes()
        if (known := self._answers.get(key)) is not None:
            return known
        answer = self.ask(tokens)
        if self._room >= answer.nbytes:
            self._room -= answer.nbytes
            self._answers[key] = answer
        return answer

    def ask(self, tokens: Tokens, scorer: Scorer | None = None) -> Losses:
        """A new evaluation of a text, by the scorer or by a variant of it."""
        self._count(len(tokens) - 1)
        try:
            # A copy: a scorer that writes into its input changes nothing here.
            answer = (scorer or self.scorer).score(tokens.copy())
            return checked_losses(answer, len(tokens) - 1, made_up=not np.array_equal(tokens, self.text.tokens))
        except Exception as error:
            raise self._noted(error) from error

    def fresh(self) -> Scorer | None:
        """A copy of the scorer that has seen nothing, where its author gives one."""
        if self.subject.fresh is None:
            return None
        try:
            return self.subject.fresh()
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
    def foretells(self) -> bool:
        """Whether it tells of a whole text what its sessions would tell before some targets."""
        return isinstance(self.scorer, Foretelling) and self.tells_distributions

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
    def evaluation(self, scorer: Scorer | None = None) -> Iterator[Session]:
        """A new evaluation of the text, of a scorer that takes pieces, or of a copy of it."""
        feedable = scorer or self.scorer
        assert isinstance(feedable, Feedable)
        self._count(0)
        try:
            session = feedable.start(int(self.text.tokens[0]), self.text.targets)
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
        return max(float(difference(losses, self.base).max()) for losses in self._fed.values())

    def feed(self, session: Session, tokens: Tokens) -> Losses:
        """The losses of the next tokens."""
        self.targets += len(tokens)
        try:
            return checked_losses(session.feed(tokens.copy()), len(tokens), made_up=True)
        except Exception as error:
            raise self._noted(error) from error

    def fork(self, session: Session) -> Session:
        """A copy of a session that can be copied."""
        try:
            if not isinstance(session, Forkable):
                raise _withdrawn("can be copied")
            return session.fork()
        except Exception as error:
            raise self._noted(error) from error

    def distribution(self, session: Session) -> Losses:
        """-ln p of the next target for every token, [V]; of a session that tells it."""
        try:
            if not isinstance(session, Distributed):
                raise _withdrawn("tells distributions")
            told = -np.asarray(session.distribution(), dtype=np.float64)
            return checked_losses(told, self.text.vocab_size, made_up=True, first=0, of="token")
        except Exception as error:
            raise self._noted(error) from error

    def foretold(self, tokens: Tokens, targets: Sequence[int]) -> Losses:
        """-ln p of each of these targets of a text for every token, [T, V]; of a scorer that foretells."""
        assert isinstance(self.scorer, Foretelling)
        self._count(len(tokens) - 1)
        try:
            told = -np.asarray(self.scorer.foretell(tokens.copy(), targets), dtype=np.float64)
            V = self.text.vocab_size
            return np.stack([checked_losses(told_V, V, made_up=True, first=0, of="token") for told_V in told])
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
        # Each is a draw of its own where runs differ: the text's own tokens would all have the first run's noise.
        answer = self.losses if self.noise.largest_nats == 0 else self.ask
        return np.array([answer(self.with_target(target, int(token)))[target - 1] for token in candidates])

    @property
    def knows_lengths(self) -> bool:
        """Whether the declared order takes the lengths of the documents as known, so where one starts is no news."""
        return self.subject.declared.order != "file"

    @cached_property
    def tries(self) -> Tokens:
        """Tokens that can be a target, [C]: all; but no start of a document where that would change the order."""
        every = np.arange(self.text.vocab_size, dtype=np.uint16)
        return every[every != self.text.bos_id] if self.knows_lengths and self.text.bos_id is not None else every

    def spread_targets(self, count: int, rng: np.random.Generator, *, by_text: bool = False) -> dict[int, str]:
        """At most `count` targets at which other tokens can be tried, of every kind, each with its kind.

        by_text: of the kinds that the text alone tells, so that they are the same for every scorer.
        """
        kinds = strata(self.text, self.base, self.subject.declared.chunk_targets)
        if by_text:
            kinds = {name: mask for name, mask in kinds.items() if name not in OF_LOSSES}
        fixed = ~np.isin(self.text.tokens[1:], self.tries)
        return dict(spread_over({name: mask & ~fixed for name, mask in kinds.items()}, count, rng))

    def enumerated(self, target: int) -> Losses:
        """The loss of every token of `tries` as that target, [C]."""
        return self.candidate_losses(target, self.tries)

    def enumerated_in_order(self, targets: list[int]) -> Iterator[tuple[int, Losses]]:
        """Each of the targets with `enumerated` of it; foretold, or by forks of one session, by a scorer that can."""
        yield from self._in_order(dict.fromkeys(targets, self.tries), in_one=self.forks or self._tells_apart)

    def told(self, tokens: Tokens, target: int, scorer: Scorer | None = None) -> Losses:
        """The loss of every token as a target of any text, [V], by the scorer or a copy of it.

        A scorer that tells distributions is given what stands before the target and nothing else.
        """
        if self.tells_distributions:
            with self.evaluation(scorer) as session:
                if target > 1:
                    self.feed(session, tokens[1:target])
                return self.distribution(session)
        found, tried = np.empty(self.text.vocab_size), tokens.copy()
        for token in range(self.text.vocab_size):
            tried[target] = token
            found[token] = (self.losses(tried) if scorer is None else self.ask(tried, scorer))[target - 1]
        return found

    def told_in_order(self, targets: Iterable[int]) -> Iterator[tuple[int, Losses]]:
        """Each of the targets with what the scorer tells before it, [C] of `tries`; of one that tells distributions."""
        wanted = sorted(targets)
        if self.foretells:
            for target, told_V in zip(wanted, self.foretold(self.text.tokens, wanted) if wanted else ()):
                yield target, told_V[self.tries]
            return
        with self.evaluation() as session:
            fed = 0
            for target in wanted:
                if target - 1 > fed:
                    self.feed(session, self.text.tokens[fed + 1 : target])
                    fed = target - 1
                yield target, self.distribution(session)[self.tries]

    def tried_in_order(self, wanted: Mapping[int, Tokens]) -> Iterator[tuple[int, Losses]]:
        """Each of the targets with the loss that each of its tokens would have had there.

        A scorer that foretells is asked in one evaluation, and a program that runs apart where it offers that.
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
        if self.foretells:
            targets = sorted(wanted)
            for target, told_V in zip(targets, self.foretold(self.text.tokens, targets) if targets else ()):
                yield target, told_V[wanted[target]]
            return
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


def _withdrawn(ability: str) -> ScorerFault:
    """Of a session that lacks what the first one had, on which the checks rely."""
    return ScorerFault("offers changed", f"{ability} in one evaluation and not in another; each offers the same")
