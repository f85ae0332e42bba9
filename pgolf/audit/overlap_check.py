"""B17: the network was not trained on the text: no more of it stands in training than training repeats of itself."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.scorer import Tokens
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, not_applicable, passed
from pgolf.corpus.shards import write_shard

# Three chances are looked at, so at most three honest splits in a million are accused.
LEVEL = 1e-6
# Tokens of a shingle, for documents of usual length, and the fewest there may be.
LENGTH, SHORTEST = 64, 8
# Training that holds so much of validation without a small chance repeats itself too much to show a leak.
_MUCH = 0.05

if TYPE_CHECKING:
    from pgolf.audit.overlap import Overlap


def find(trial: Trial) -> Finding:
    """Compare the text, all of it, with the shards that the network was trained on, where they are given."""
    shards, text, whole = trial.subject.trained_on, trial.text, trial.subject.whole
    tokens, bos_id = (text.tokens, text.bos_id) if whole is None else (whole.tokens, whole.bos_id)
    with tempfile.TemporaryDirectory(prefix="pgolf-overlap-") as folder:
        return split(
            tokens,
            [_as_file(shard, Path(folder) / f"{number}.bin") for number, shard in enumerate(shards)],
            bos_id=bos_id,
        )


def split(validation: Tokens, shards: Sequence[Path], *, bos_id: int | None) -> Finding:
    """Compare a validation stream with all of these training shards: at full size two minutes and 3 GB.

    Raises ShardError for a shard that is none.
    """
    from pgolf.audit.overlap import overlap_of  # compiles loops, which no other check needs

    if not shards:
        return not_applicable("no training shards were given (--train-shards DIR)")
    if bos_id is None or not (validation == bos_id).any():
        return not_applicable("the text has no documents: nothing says where one starts")
    return judged(overlap_of(validation, shards, bos_id=bos_id, length=_shingle_tokens(validation, bos_id)))


def _shingle_tokens(validation: Tokens, bos_id: int) -> int:
    """As for the challenge's documents, but at most half of the usual one of this text.

    A document with too few different tokens for a shingle is not looked for.
    """
    borders = [*np.flatnonzero(validation == bos_id), len(validation)]
    return int(np.clip(np.median(np.diff(borders)) // 2, SHORTEST, LENGTH))


def judged(overlap: "Overlap") -> Finding:
    """What an overlap comes to; see `pgolf.audit.overlap` for the three chances."""
    from pgolf.audit.overlap import chance

    validation, control = overlap.validation, overlap.control
    share = validation.covered_tokens / max(1, validation.tokens)
    seen = (
        f"{overlap.train_tokens:,} training tokens in {len(overlap.shards)} shards hold "
        f"{validation.shared_documents:,} of {validation.documents:,} documents and {share:.2%} of the tokens"
    )
    chances = {
        "equal documents": overlap.identical_p,
        "documents shared to 90 %": overlap.shared_p,
        "documents in the same order": overlap.consecutive_p,
    }
    what, least = min(chances.items(), key=lambda item: item[1])
    evidence = _evidence(overlap)
    if least < LEVEL:
        return failed(f"{seen}; the chance of so many {what} in an honest split is {least:.1g}", *evidence)
    if validation.shared_documents > _MUCH * max(1, validation.documents):
        repeated = f"{control.shared_documents:,} of {control.documents:,} training documents that were looked for"
        if control.shared_documents * validation.documents >= validation.shared_documents * control.documents:
            said, settles = f"and training repeats itself as much ({repeated})", "training shards without repeats"
        else:
            said = f"more than training repeats of itself ({repeated}), but of so few documents that may be chance"
            said += f" ({least:.2g}, and a leak is one below {LEVEL:.0e})"
            settles = "training shards without these documents, or more documents on both sides"
        return inconclusive(f"{seen}, {said}", settles, *evidence)
    of_all = chance(validation.documents, validation.documents, overlap.twin_documents, overlap.hashed_documents)
    if of_all >= LEVEL:
        return inconclusive(f"{seen}; so few that a leak of all would not show", "more documents", *evidence)
    return passed(f"{seen}; training repeats itself as often (least chance {least:.2g})", *evidence)


def _evidence(overlap: "Overlap") -> list[Evidence]:
    found = []
    for one in overlap.examples[:3]:
        values = {"covered_tokens": one.covered_tokens}
        where = ""
        if one.match is not None:
            values["train_position"], where = one.match.train_position, f", in {one.match.shard}"
        what = f"document {one.document:,} of {one.tokens:,} tokens{where}"
        found.append(Evidence(what=what, target=max(1, one.validation_position), values=values))
    if (run := overlap.longest_run) is not None:
        places = {"tokens": run.tokens, "train_position": run.train_position}
        found.append(Evidence(what=f"longest run, in {run.shard}", target=run.validation_position + 1, values=places))
    return found


def _as_file(shard: Path | Tokens, path: Path) -> Path:
    if isinstance(shard, Path):
        return shard
    write_shard(path, np.asarray(shard, np.uint16))
    return path


CHECK = RuleCheck(
    number="B17",
    name="data split",
    rule="no document of validation among those that were trained on (#2018)",
    find=find,
)
