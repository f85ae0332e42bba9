"""The tests between two arms: over seeds, Welch's and the paired one; over documents, a paired bootstrap.

Three questions, three answers. Would other seeds show it? (Welch over independent trainings; paired over seeds that
both have.) Would another text show it of these networks? (Bootstrap over documents.) The first is the claim of a
record; where both arms score the same trained networks, pairs of seeds answer it, because training's spread is in both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from pgolf.compare.arms import Arm
from pgolf.errors import DataError, ResultsError
from pgolf.stats.compare import Comparison, GainRule, compare_paired, compare_welch
from pgolf.stats.document_bootstrap import DocumentTest, compare_documents
from pgolf.stats.holm import holm
from pgolf.stats.seeds_needed import seeds_needed

Per = Literal["token", "byte"]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ByDocument:
    """Losses of an arm's scorer by document, the mean over its seeds, [K]; targets and bytes of each, [K].

    why_not: why there are none; empty where there are.
    """

    loss_nats: Float64Array | None = None
    targets: Int64Array | None = None
    bytes: Int64Array | None = None
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How far a candidate is below the base. p_value: of the seeds' test, adjusted where several arms were compared.

    paired: None unless both have the same seeds. documents: None with the reason in no_documents. seeds_wanted: per
    side, to show a gain as large as this one in four of five repetitions; None where no number does, or nobody knows.
    gain_bpb: None where bytes are not known.
    """

    candidate: Arm
    base: Arm
    rule: GainRule
    welch: Comparison
    paired: Comparison | None
    documents: DocumentTest | None
    no_documents: str
    same_networks: bool
    gain_bpb: float | None
    gain_nats_per_byte: float | None
    p_value: float | None = None
    arms: int = 1

    @property
    def shared_networks(self) -> int:
        """Trained networks that are in both arms, where not all of them are: these seeds are not independent."""
        both = set(self.candidate.networks.values()) & set(self.base.networks.values()) - {None}
        return 0 if self.same_networks else len(both)

    @property
    def over_seeds(self) -> Comparison:
        """The test that answers: of pairs where both arms score the same networks, else Welch's."""
        return self.paired if self.same_networks and self.paired is not None else self.welch

    @property
    def seeds(self) -> tuple[int, int]:
        """Seeds of the candidate and of the base."""
        return len(self.candidate.by_seed), len(self.base.by_seed)

    @property
    def seeds_wanted(self) -> int | None:
        """See the class."""
        return seeds_needed(self.over_seeds)

    @property
    def passes(self) -> bool | None:
        """Whether the gain exceeds the margin at the rule's level; None without a p that holds."""
        return None if self.p_value is None or self.candidate.late else self.p_value < self.rule.p_below


def check_comparable(arms: Sequence[Arm]) -> Per:
    """Whether losses per token may be compared, or only per byte: "token" or "byte".

    Raises ResultsError for arms of other texts, and for other tokenizations of a text whose bytes are not verified.
    """
    first = arms[0]
    per: Per = "token"
    for other in arms[1:]:
        ours, theirs = first.text, other.text
        if ours == theirs or (ours.is_known and ours.tokenization == theirs.tokenization):
            continue
        if ours.raw_sha256 is None or ours.raw_sha256 != theirs.raw_sha256:
            raise ResultsError(
                f"{first.name} and {other.name} were validated on different texts, so neither is better: "
                f"{ours}; {theirs}; run both on one text (--documents or --data)"
            )
        for arm in (first, other):
            if not arm.result.gate("bytes_verified"):
                raise ResultsError(
                    f"{first.name} and {other.name} have other tokens of the same text, which only bits per byte "
                    f"compare, and the bytes of {arm.name} are not verified: run it with --documents"
                )
        per = "byte"
    return per


def losses(arm: Arm, per: Per) -> dict[int, float]:
    """Seed -> loss in nats per token, or per byte. Raises ResultsError where bytes are not known."""
    if per == "token":
        return {seed: score.loss_nats for seed, score in sorted(arm.by_seed.items())}
    found = {seed: score.bpb for seed, score in sorted(arm.by_seed.items())}
    if unknown := [seed for seed, bpb in found.items() if bpb is None]:
        raise ResultsError(f"{arm.name}: bits per byte of seed {unknown[0]} are not known; compare per token")
    return {seed: bpb * math.log(2) for seed, bpb in found.items() if bpb is not None}


def compare_arms(
    candidates: Sequence[Arm], base: Arm, rule: GainRule, documents: Mapping[str, ByDocument]
) -> list[Gain]:
    """Every candidate against the base. documents: name of an arm -> its losses by document.

    The p-values of several candidates are adjusted by Holm's method. The caller has asked `check_comparable`.
    """
    gains = [_gain(candidate, base, rule, documents) for candidate in candidates]
    adjusted = holm([gain.over_seeds.p for gain in gains])
    tested = sum(p is not None for p in adjusted)
    return [replace(gain, p_value=p, arms=max(1, tested)) for gain, p in zip(gains, adjusted)]


def _gain(candidate: Arm, base: Arm, rule: GainRule, documents: Mapping[str, ByDocument]) -> Gain:
    ours, theirs = losses(candidate, rule.per), losses(base, rule.per)
    same = candidate.networks == base.networks and None not in candidate.networks.values()
    found, why_not = _over_documents(candidate, base, rule, documents)
    bpb = [_mean([score.bpb for score in arm.by_seed.values()]) for arm in (candidate, base)]
    gain_bpb = None if bpb[0] is None or bpb[1] is None else bpb[1] - bpb[0]
    return Gain(
        candidate=candidate,
        base=base,
        rule=rule,
        welch=compare_welch(ours.values(), theirs.values(), rule=rule),
        paired=compare_paired(ours, theirs, rule=rule) if ours.keys() == theirs.keys() else None,
        documents=found,
        no_documents=why_not,
        same_networks=same,
        gain_bpb=gain_bpb,
        gain_nats_per_byte=None if gain_bpb is None else gain_bpb * math.log(2),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None


def _over_documents(
    candidate: Arm, base: Arm, rule: GainRule, documents: Mapping[str, ByDocument]
) -> tuple[DocumentTest | None, str]:
    for arm in (candidate, base):
        own = documents.get(arm.name)
        if own is None or own.loss_nats is None:
            return None, f"{arm.name}: {own.why_not if own else 'not asked for'}"
    ours, theirs = documents[candidate.name], documents[base.name]
    assert ours.loss_nats is not None
    assert theirs.loss_nats is not None
    sizes = ours.bytes if rule.per == "byte" else ours.targets
    their_sizes = theirs.bytes if rule.per == "byte" else theirs.targets
    assert sizes is not None
    assert their_sizes is not None
    if len(sizes) != len(their_sizes):
        return None, f"{candidate.name} has {len(sizes):,} documents, {base.name} {len(their_sizes):,}"
    if not np.array_equal(sizes, their_sizes):
        # Other windows score other targets at the end; by far most documents are the same.
        return None, f"{candidate.name} and {base.name} scored other {rule.per}s of the documents"
    try:
        return compare_documents(ours.loss_nats, theirs.loss_nats, sizes, margin_nats=rule.margin_nats), ""
    except DataError as error:
        return None, str(error)


def title_of(test: Comparison) -> str:
    """What a test over seeds is called in tables and figures."""
    return f"seeds, {'Welch' if test.test == 'welch' else 'paired'}"
