"""Any program as a scorer: a process that gets tokens in lines of JSON and answers what they cost.

It holds no token that it has not been fed: each piece is sent after the losses of the one before have come back.
Every evaluation is a new process. What is said: docs/audit_protocol.md. Shapes: V vocabulary.
"""

import itertools
import json
import weakref
from collections.abc import Collection, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import numpy as np

from pgolf.audit.program_process import Limits, Program, ProgramProcess, room_allowed
from pgolf.audit.scorer import Losses, ScorerFault, Tokens, checked_losses
from pgolf.errors import MachineError

# A number of an answer takes 25 bytes at most, and what else a line may hold is short.
_BYTES_A_NUMBER, _BYTES_A_LINE = 64, 1 << 12
_OFFERS = ("distribution", "mark")
# Each may have taken as long as the limits allow: who has not answered so often is not asked again.
MOST_FAULTS = 3


class ProgramScorer:
    """A program as a scorer that takes pieces. Use it in a `with`, at whose end all its processes are gone.

    isolation: how it was kept from what is not its own. conduct: what its processes did besides answering, each once.
    starts: how often it was started; ready: how often it said that it is.
    """

    def __init__(
        self,
        program: Program,
        *,
        vocab_size: int,
        limits: Limits | None = None,
        piece_targets: int | None = None,
        isolate: bool = True,
    ) -> None:
        """piece_targets: how many tokens `score` sends at a time; None: all, the text as the author's own run sees it.

        isolate: false for a room without namespaces, where nothing but the text is hidden.
        """
        self.program, self.limits, self.piece_targets = program, limits or Limits(), piece_targets
        self._vocab_size = vocab_size
        why = room_allowed() if isolate else "not asked for"
        self._isolated = why is None
        self.isolation = "namespaces" if why is None else f"a copy of its folder, no namespaces ({why})"
        self.conduct: list[ScorerFault] = []
        self.starts = self.ready = 0
        self._live: set[_Conversation] = set()
        self._faults = 0

    @property
    def vocab_size(self) -> int:
        """V."""
        return self._vocab_size

    def score(self, tokens: Tokens) -> Losses:
        """Losses of x[1..N] by a new process."""
        targets = len(tokens) - 1
        session = self.start(int(tokens[0]), targets)
        try:
            size = self.piece_targets or targets
            pieces = [tokens[first : first + size] for first in range(1, targets + 1, size)]
            return np.concatenate([session.feed(piece) for piece in pieces])
        finally:
            session.close()

    def start(self, first: int, targets: int) -> "ProgramSession":
        """A new process. What it offers decides what the session can do."""
        if self._faults >= MOST_FAULTS:
            raise ScorerFault("given up", f"is not started again after {self._faults} evaluations without an answer")
        self.starts += 1
        try:
            process = ProgramProcess(self.program, self.limits, isolated=self._isolated)
        except ScorerFault:
            self._faults += 1
            raise
        except OSError as error:
            raise MachineError(f"no room could be made for {self.program.words[0]}: {error}") from error
        conversation = _Conversation(self, process, targets)
        self._live.add(conversation)
        offers = conversation.begin(first)
        kinds = {
            frozenset[str](): ProgramSession,
            frozenset({"mark"}): MarkingSession,
            frozenset({"distribution"}): TellingSession,
        }
        return kinds.get(frozenset(offers), FullSession)(conversation)

    def ended(self, conversation: "_Conversation", conduct: Collection[ScorerFault], *, faulty: bool) -> None:
        """An evaluation is over."""
        self._live.discard(conversation)
        self._faults += faulty
        known = {str(fault) for fault in self.conduct}
        self.conduct += [fault for fault in conduct if str(fault) not in known]

    def close(self) -> None:
        """End all processes."""
        for conversation in list(self._live):
            conversation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Conversation:
    """What is said to one process, whose sessions are one evaluation and its forks."""

    def __init__(self, scorer: ProgramScorer, process: ProgramProcess, targets: int) -> None:
        self.scorer, self.process, self.targets = scorer, process, targets
        self.sessions: weakref.WeakSet[ProgramSession] = weakref.WeakSet()
        self.at: weakref.ref[ProgramSession] | None = None
        self._closed = False

    def begin(self, first: int) -> Sequence[str]:
        """Start an evaluation; what the program offers."""
        limits = self.scorer.limits
        asked = {"start": {"vocab_size": self.scorer.vocab_size, "first": first, "targets": self.targets}}
        answer = self.asked(asked, "its start", "ready", within_s=limits.start_s, most_numbers=0)
        try:
            offers = answer.get("offers", [])
            if answer["ready"] is not True or not isinstance(offers, list) or not set(offers) <= set(_OFFERS):
                raise ValueError
        except (TypeError, ValueError):
            self.close(faulty=True)
            raise ScorerFault(
                "garbage",
                f'answered its start with {_short(answer)} instead of {{"ready": true}}, with "offers" of '
                f"{' and '.join(_OFFERS)} or none",
            ) from None
        self.scorer.ready += 1
        return tuple(offers)

    def numbers(self, question: dict[str, Any], about: str, name: str, count: int) -> Losses:
        """An answer of so many numbers."""
        answer = self.asked(
            question, about, name, within_s=self.scorer.limits.answer_s, most_numbers=max(count, len(question))
        )[name]
        # Words and truth values would become numbers in an array.
        if not isinstance(answer, list) or not all(type(one) in (int, float) for one in answer):
            self.close(faulty=True)
            raise ScorerFault("garbage", f"answered about {about} with {_short(answer)}, which is no list of numbers")
        if len(answer) != count:
            self.close(faulty=True)
            raise ScorerFault("wrong number", f"asked about {about}, answered {len(answer):,} numbers for {count:,}")
        try:
            return np.array(answer, dtype=np.float64)
        except OverflowError:
            self.close(faulty=True)
            raise ScorerFault("not finite", f"answered about {about} with a number beyond all floats") from None

    def asked(
        self, question: dict[str, Any], about: str, name: str, *, within_s: float, most_numbers: int
    ) -> dict[str, Any]:
        """An answer, a JSON object that has this name."""
        if self._closed:
            raise ScorerFault("closed", f"is over, and was asked about {about}")
        try:
            line = self.process.ask(
                _line(question),
                about,
                within_s=within_s,
                most_bytes=_BYTES_A_LINE + _BYTES_A_NUMBER * most_numbers,
            )
            return _object(line, about, name)
        except BaseException:
            self.close(faulty=True)
            raise

    def close(self, *, faulty: bool = False) -> None:
        """End the process."""
        if not self._closed:
            self._closed = True
            self.scorer.ended(self, self.process.end(), faulty=faulty)

    def enter(self, session: "ProgramSession") -> None:
        """Let the program be where a session is, and keep where it was if another one may go on from there."""
        before = self.at() if self.at is not None else None
        if before is session:
            return
        if before is not None:
            self.keep(before)
        if session.kept is not None:
            self.process.send(_line({"back": session.kept}))
        self.at = weakref.ref(session)

    def keep(self, session: "ProgramSession") -> int:
        """The number of the mark at which a session is; it is there now, or has one."""
        if session.kept is None:
            used = {one.kept for one in self.sessions}
            session.kept = next(number for number in itertools.count() if number not in used)
            self.process.send(_line({"mark": session.kept}))
        return session.kept


class ProgramSession:
    """An evaluation by a program. kept: the number of the mark where it is, None once it has gone on from there."""

    def __init__(self, conversation: _Conversation, *, fed: int = 0, kept: int | None = None) -> None:
        self._conversation, self._fed, self.kept = conversation, fed, kept
        conversation.sessions.add(self)
        if conversation.at is None:
            conversation.at = weakref.ref(self)

    def feed(self, tokens: Tokens) -> Losses:
        """Losses of the next targets; they have not been sent before."""
        first = self._fed + 1
        about = f"target {first:,}" if len(tokens) == 1 else f"targets {first:,} to {first + len(tokens) - 1:,}"
        self._conversation.enter(self)
        self.kept = None
        self._fed += len(tokens)
        losses = self._conversation.numbers({"tokens": tokens.tolist()}, about, "loss_nats", len(tokens))
        # Here, where it is known which targets these are. A token that is only tried may have the probability 0.
        return checked_losses(losses, len(tokens), made_up=True, first=first)

    def close(self) -> None:
        """End the evaluation, with all its forks."""
        self._conversation.close()


class MarkingSession(ProgramSession):
    """Of a program that goes back to where it was."""

    def fork(self) -> "MarkingSession":
        """A copy: one process, which goes to and fro between them."""
        if self.kept is None:
            self._conversation.enter(self)
        return type(self)(self._conversation, fed=self._fed, kept=self._conversation.keep(self))


class TellingSession(ProgramSession):
    """Of a program that tells what it expects."""

    def distribution(self) -> Losses:
        """ln p of every token as the next target, [V]."""
        self._conversation.enter(self)
        about = f"the distribution before target {self._fed + 1:,}"
        return self._conversation.numbers({"distribution": True}, about, "logp", self._conversation.scorer.vocab_size)


class FullSession(MarkingSession, TellingSession):
    """Of a program that does both."""


def _line(question: dict[str, Any]) -> bytes:
    return json.dumps(question).encode() + b"\n"


def _object(line: bytes, about: str, name: str) -> dict[str, Any]:
    read = None
    with suppress(ValueError, RecursionError):
        read = json.loads(line)
    if not isinstance(read, dict) or name not in read:
        said = line[:61].decode(errors="backslashreplace")
        said = repr(said if len(said) <= 60 else said[:60] + "…")
        raise ScorerFault(
            "garbage",
            f'answered about {about} with {said} instead of {{"{name}": …}} on one line; what is for people goes to '
            "standard error",
        )
    return read


def _short(answer: Any) -> str:
    try:
        text = json.dumps(answer)
    except RecursionError:
        return "a value nested too deeply"
    return text if len(text) <= 60 else f"{text[:60]}…"
