"""The audit stage: scorers of a run on trial, on the beginning of the validation text.

verdicts.json: the text's size, the effort, tokens per row as tried and as scored, and one entry per scorer: its
settings (as `cell` in the tables), what its author declares, the outcome, and every check's verdict with its evidence.
seconds.json: how long each check took, by scorer.
"""

import json
import time
from collections.abc import Mapping, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pgolf.audit.audit import CHECKS, Audit, audit
from pgolf.audit.audit_config import AuditConfig
from pgolf.audit.audit_text import AuditText
from pgolf.audit.effort import EFFORTS
from pgolf.audit.run_scorers import RunScorers
from pgolf.audit.shortened import shortened, shortened_names
from pgolf.audit.subject import Declared, Subject
from pgolf.audit.verdict import Verdict
from pgolf.corpus.dataset import Dataset, open_dataset
from pgolf.corpus.shards import validation_tokens
from pgolf.errors import DataError
from pgolf.eval.ttt_config import LoraConfig, TttConfig
from pgolf.model.checkpoint import Checkpoint
from pgolf.pack.load import load_packed
from pgolf.run_options import Made, Progress, RunOptions

VERDICTS_FILE = "verdicts.json"
SECONDS_FILE = "seconds.json"


def make(config: AuditConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Try the scorers; writes verdicts.json.

    inputs: `model`, a folder with a packed model, and `data`. The network computes in float32 on the CPU whatever the
    run did: what is tried is how a score comes about. Raises what loading the model raises, DataError for validation
    data that are shorter than two texts of `config.least_targets`.
    """
    began_s = time.perf_counter()
    dataset = open_dataset(inputs["data"])
    names, tried = shortened_names(config), shortened(config)
    text = text_of(dataset, tried.least_targets)
    wanted, packed = set(names.values()), load_packed(inputs["model"] / "model.pgolf")
    scorers = _run_scorers(tried, wanted, packed, dataset, run.threads)
    elsewhere = {"1 thread": _run_scorers(tried, wanted, packed, dataset, 1)}
    if tried.score.batch_means is None:
        batches = tried.model_copy(update={"score": tried.score.model_copy(update={"batch_windows": 3})})
        elsewhere["batches of 3 windows"] = _run_scorers(batches, wanted, packed, dataset, run.threads)
    loaded_s = time.perf_counter()
    total = len(wanted) * (len(CHECKS) + 1)
    done = 0

    def listen(_verdict: Verdict) -> None:
        nonlocal done
        done += 1
        run.report(Progress(stage="audit", done=done, total=total, unit="checks"))

    audits = {}
    for column, (name, scorer) in enumerate(zip(scorers.names, scorers.scorers())):
        variants = {what: other.scorers()[column] for what, other in elsewhere.items()}
        subject = Subject(name=name, scorer=scorer, declared=declared_by(tried), variants=variants)
        audits[name] = audit(subject, text, effort=EFFORTS[config.effort], seed=config.seed, listen=listen)
    document = {
        "targets": text.targets,
        "vocab_size": text.vocab_size,
        "effort": config.effort,
        "window": tried.score.window,
        "scored_window": config.score.window,
        "scorers": [_entry(name, audits[own], declared_by(tried)) for name, own in names.items()],
    }
    (out / VERDICTS_FILE).write_text(json.dumps(document, indent=1))
    seconds = {name: {one.number: one.cost.wall_s for one in audits[own].verdicts} for name, own in names.items()}
    (out / SECONDS_FILE).write_text(json.dumps(seconds, indent=1))
    outcomes = [audits[own].outcome for own in names.values()]
    return Made(
        phases_s={"load": loaded_s - began_s, "try": time.perf_counter() - loaded_s},
        facts={
            "scorers": len(names),
            "targets": text.targets,
            **{what: outcomes.count(what) for what in ("pass", "fail", "inconclusive")},
        },
    )


def text_of(dataset: Dataset, targets: int) -> AuditText:
    """The first targets of the validation stream, and what follows as the other text. Raises DataError if too few."""
    stream = np.array(validation_tokens(dataset, window=1), np.uint16)
    targets = min(targets, (len(stream) - 2) // 2)
    if targets < 2:
        raise DataError(f"{dataset.folder}: {len(stream):,} validation tokens are too few for a trial; it needs 6")
    return AuditText(
        tokens=stream[: targets + 1],
        other=stream[targets + 1 :][: 2 * targets],
        vocab_size=dataset.vocab_size,
        bos_id=dataset.bos_id,
    )


def declared_by(config: AuditConfig) -> Declared:
    """What the configuration says about how the run's scorers work."""
    ttt = config.score.ttt
    chunk = ttt.chunk_tokens if isinstance(ttt, TttConfig) else config.score.chunk_tokens
    # Adapters learn a document and forget it; the network before them still sees across the border.
    return Declared(chunk_targets=None if isinstance(ttt, LoraConfig) else chunk)


def _run_scorers(config: AuditConfig, only: Set[str], packed: Checkpoint, dataset: Dataset, threads: int) -> RunScorers:
    return RunScorers(
        packed,
        vocab_size=dataset.vocab_size,
        bos_id=dataset.bos_id,
        score=config.score,
        mix=config.mix,
        counts=config.by_estimator,
        hint=config.hint,
        only=only,
        threads=threads,
    )


def _entry(name: str, one: Audit, declared: Declared) -> dict[str, Any]:
    return {
        "cell": name,
        "declared": asdict(declared),
        "outcome": one.outcome,
        "verdicts": [_without_seconds(verdict) for verdict in one.verdicts],
    }


def _without_seconds(verdict: Verdict) -> dict[str, Any]:
    """As plain data that are the same whenever the same scorer is tried again."""
    data = verdict.to_json()
    return {**data, "cost": {**data["cost"], "wall_s": 0.0}}
