"""B8: the losses are the length of a code: a message coded with the scorer's probabilities comes back.

The decoder is a fresh copy of the scorer that knows what it has decoded and nothing else. Source: Eppie's test (#677).
"""

import math
from collections.abc import Callable

import numpy as np

from pgolf.audit.arithmetic_coder import decode, encode, frequencies_of
from pgolf.audit.noise import TELLING_NATS
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.scorer import Losses, Session, Tokens
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, not_applicable, passed

MOST_BITS_OVER = 64

_NextLosses = Callable[[list[int]], Losses]


def find(trial: Trial) -> Finding:
    """Code and decode a stretch at the start of the text and one in its later half."""
    if trial.subject.declared.order != "file":
        return not_applicable(
            "not scored in the file's order, so what a decoder knows is not the beginning of the file"
        )
    if trial.noise.tolerance_nats > 0:
        nats = trial.noise.largest_nats
        return inconclusive(
            f"{trial.noise}, and coder and decoder must have the same probabilities to the bit",
            "a fixed seed, or deterministic kernels",
            Evidence(what="noise between runs", values={"largest_nats": nats, "telling_nats": TELLING_NATS}),
        )
    if trial.apart and not (trial.forks or trial.tells_distributions):
        return inconclusive(
            "the program tells no distribution and does not go back, so coding one token takes a start for every token",
            'a program that offers "distribution" or "mark" (docs/audit_protocol.md)',
        )
    # Going back and forth for every token of the vocabulary takes a program longer than telling them all.
    coded = trial.effort.coded // (4 if trial.apart and not trial.tells_distributions else 1)
    N, count = trial.text.targets, max(1, min(coded // 2, trial.text.targets // 2))
    bits_all, nats_all = 0, 0.0
    for first in dict.fromkeys((1, N - N // 3 - count + 1)):
        message = trial.text.tokens[first : first + count].tolist()
        bits, back = _by_sessions(trial, first, message) if trial.apart else _by_texts(trial, first, message)
        nats = float(trial.base[first - 1 : first - 1 + count].sum())
        if back != message:
            place = next(place for place, (one, other) in enumerate(zip(back, message)) if one != other)
            return failed(
                f"of {count} tokens coded from target {first:,} on, a fresh copy decoded {place}, then another token "
                f"at target {first + place:,}: its probabilities there came from what follows",
                Evidence(what="decoded another token", target=first + place, values={"bits": len(bits)}),
            )
        bits_all, nats_all = bits_all + len(bits), nats_all + nats
    reported = nats_all / math.log(2)
    if bits_all > reported + MOST_BITS_OVER:
        return failed(
            f"{2 * count} tokens took {bits_all:,} bits where the losses say {reported:.1f}: no decoder exists for "
            "losses that small",
            Evidence(what="longer than reported", values={"bits": bits_all, "reported_bits": reported}),
        )
    return passed(f"{2 * count} tokens coded and decoded again in {bits_all:,} bits, {reported:.1f} by their losses")


def _by_texts(trial: Trial, first: int, message: list[int]) -> tuple[list[int], list[int]]:
    """The message's bits, and what they are decoded to, by whole texts that differ in one token."""
    count = len(message)
    tables = [frequencies_of(_told(trial, trial.text.tokens, target)) for target in range(first, first + count)]
    bits = encode(message, tables)
    # What follows is not known when decoding, nor is the message: other tokens stand there until it is.
    behind = np.arange(trial.text.targets + 1) >= first
    blank = trial.text.with_replaced(behind, "random tokens", trial.rng("B8"))
    return bits, decode(bits, count, _with_decoded(trial, blank, first))


def _by_sessions(trial: Trial, first: int, message: list[int]) -> tuple[list[int], list[int]]:
    """The same by two processes: one is fed the message as it is coded, the other as it is decoded."""

    def tables(session: Session) -> Callable[[list[int]], np.ndarray]:
        if first > 1:
            trial.feed(session, trial.text.tokens[1:first])
        known = 0

        def frequencies(before: list[int]) -> np.ndarray:
            nonlocal known
            if len(before) > known:
                trial.feed(session, np.array(before[known:], dtype=np.uint16))
                known = len(before)
            each = np.arange(trial.text.vocab_size, dtype=np.uint16)
            told = trial.tells_distributions
            return frequencies_of(trial.distribution(session) if told else trial.next_losses(session, each))

        return frequencies

    with trial.evaluation() as session:
        frequencies = tables(session)
        bits = encode(message, [frequencies(message[:place]) for place in range(len(message))])
    with trial.evaluation() as session:
        return bits, decode(bits, len(message), tables(session))


def _told(trial: Trial, tokens: Tokens, target: int) -> Losses:
    """The loss of every token as that target of a text, [V]."""
    found = np.empty(trial.text.vocab_size)
    for token in range(trial.text.vocab_size):
        tried = tokens.copy()
        tried[target] = token
        found[token] = trial.losses(tried)[target - 1]
    return found


def _with_decoded(trial: Trial, blank: Tokens, first: int) -> Callable[[list[int]], np.ndarray]:
    def frequencies(decoded: list[int]) -> np.ndarray:
        tokens = blank.copy()
        tokens[first : first + len(decoded)] = decoded
        return frequencies_of(_told(trial, tokens, first + len(decoded)))

    return frequencies


CHECK = RuleCheck(
    number="B8",
    name="decodability",
    rule="a score is a code length: what is coded with it can be decoded (#677)",
    find=find,
)
