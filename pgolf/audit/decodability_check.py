"""B8: the losses are the length of a code: a message coded with the scorer's probabilities comes back.

The decoder is a fresh copy of the scorer that knows what it has decoded and nothing else. Source: Eppie's test (#677).
"""

import math
from collections.abc import Callable

import numpy as np

from pgolf.audit.arithmetic_coder import Frequencies, decode, encode, frequencies_of
from pgolf.audit.noise import TELLING_NATS, difference
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.scorer import Losses, Scorer, Session
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, not_applicable, passed

MOST_BITS_OVER = 64


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
    N, coded = trial.text.targets, trial.effort.coded // (4 if trial.apart and not trial.tells_distributions else 1)
    if not (trial.apart or trial.tells_distributions):
        coded = min(coded, trial.effort.tries // (2 * trial.text.vocab_size))
    count = max(1, min(coded // 2, N // 2))
    bits_all, nats_all, decoder = 0, 0.0, trial.fresh()
    for first in dict.fromkeys((1, N - N // 3 - count + 1)):
        message = trial.text.tokens[first : first + count].tolist()
        told, told_again = list[Losses](), list[Losses]()
        code = _by_sessions if trial.apart else _by_texts
        bits, back = code(trial, decoder, first, message, told, told_again)
        nats = float(trial.base[first - 1 : first - 1 + count].sum())
        if back != message:
            return _not_decoded(trial, first, message, back, told, told_again)
        bits_all, nats_all = bits_all + len(bits), nats_all + nats
    reported = nats_all / math.log(2)
    if bits_all > reported + MOST_BITS_OVER:
        return failed(
            f"{2 * count} tokens took {bits_all:,} bits where the losses say {reported:.1f}: no decoder exists for "
            "losses that small",
            Evidence(what="longer than reported", values={"bits": bits_all, "reported_bits": reported}),
        )
    if (short := _shorter_than_scored(trial)) is not None:
        return short
    return passed(f"{2 * count} tokens coded and decoded again in {bits_all:,} bits, {reported:.1f} by their losses")


def _shorter_than_scored(trial: Trial) -> Finding | None:
    """A report that is shorter than the code of the whole text by the losses with which it can be decoded."""
    reported, whole = trial.subject.reported, trial.subject.whole
    if reported is None or whole is None or whole.loss_sum_nats is None:
        return None
    bits, said = whole.loss_sum_nats / math.log(2), list[float]()
    if reported.loss_sum_nats is not None:
        said.append((reported.loss_sum_nats + reported.off_nats * whole.targets) / math.log(2))
    if reported.bpb is not None and whole.bytes is not None:
        said.append((reported.bpb + reported.off_bpb) * whole.bytes)
    if not said or bits <= min(said) + MOST_BITS_OVER:
        return None
    return failed(
        f"the whole text of {whole.targets:,} targets takes {bits:,.0f} bits by the losses that can be decoded, and "
        f"{min(said):,.0f} are reported at most",
        Evidence(what="shorter than the code", values={"bits": bits, "reported_bits": min(said)}),
    )


def _by_texts(
    trial: Trial, decoder: Scorer | None, first: int, message: list[int], told: list[Losses], told_again: list[Losses]
) -> tuple[list[int], list[int]]:
    """The message's bits, and what they are decoded to, by whole texts that differ in one token.

    told, told_again: are given the losses that the coder and the decoder had, [V] for each token.
    """
    count = len(message)
    told += [trial.told(trial.text.tokens, target) for target in range(first, first + count)]
    bits = encode(message, map(frequencies_of, told))
    # What follows is not known when decoding, nor is the message: other tokens stand there until it is.
    behind = np.arange(trial.text.targets + 1) >= first
    blank = trial.text.with_replaced(behind, "random tokens", trial.rng("B8"))

    def frequencies(decoded: list[int]) -> Frequencies:
        tokens = blank.copy()
        tokens[first : first + len(decoded)] = decoded
        told_again.append(trial.told(tokens, first + len(decoded), decoder))
        return frequencies_of(told_again[-1])

    return bits, decode(bits, count, frequencies)


def _by_sessions(
    trial: Trial, _decoder: Scorer | None, first: int, message: list[int], told: list[Losses], told_again: list[Losses]
) -> tuple[list[int], list[int]]:
    """The same by two processes: one is fed the message as it is coded, the other as it is decoded."""

    def tables(session: Session, heard: list[Losses]) -> Callable[[list[int]], Frequencies]:
        if first > 1:
            trial.feed(session, trial.text.tokens[1:first])
        known = 0

        def frequencies(before: list[int]) -> Frequencies:
            nonlocal known
            if len(before) > known:
                trial.feed(session, np.array(before[known:], dtype=np.uint16))
                known = len(before)
            each = np.arange(trial.text.vocab_size, dtype=np.uint16)
            by_telling = trial.tells_distributions
            heard.append(trial.distribution(session) if by_telling else trial.next_losses(session, each))
            return frequencies_of(heard[-1])

        return frequencies

    with trial.evaluation() as session:
        frequencies = tables(session, told)
        bits = encode(message, [frequencies(message[:place]) for place in range(len(message))])
    with trial.evaluation() as session:
        return bits, decode(bits, len(message), tables(session, told_again))


def _not_decoded(
    trial: Trial, first: int, message: list[int], back: list[int], told: list[Losses], told_again: list[Losses]
) -> Finding:
    place = next(place for place, (one, other) in enumerate(zip(back, message)) if one != other)
    # A coder goes astray at the first frequency that is not the same, and may show it later.
    off = [difference(one, other) for one, other in zip(told[: place + 1], told_again)]
    largest = max(float(each.max()) for each in off)
    if all((each <= trial.tolerance_nats(losses)).all() for each, losses in zip(off, told)):
        return inconclusive(
            f"the decoder's losses are the coder's within {largest:.1g} nats, and a code takes them to the bit",
            "sums that are taken in the same order whatever the text",
        )
    return failed(
        f"of {len(message)} tokens coded from target {first:,} on, a fresh copy decoded {place}, then another token at "
        f"target {first + place:,}: its losses there are up to {largest:.2g} nats from the coder's, which knew more",
        Evidence(what="decoded another token", target=first + place, values={"off_nats": largest}),
    )


CHECK = RuleCheck(
    number="B8",
    name="decodability",
    rule="a score is a code length: what is coded with it can be decoded (#677)",
    find=find,
)
