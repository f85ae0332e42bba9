"""The audit stage: scorers of a run on trial, on the beginning of the validation text.

verdicts.json: the text's size, and one entry per scorer: its settings (as `cell` in the tables), what its author
declares, the outcome, and the verdict of every check with its evidence.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pgolf.audit.audit import CHECKS, Audit, audit
from pgolf.audit.audit_config import AuditConfig
from pgolf.audit.audit_text import AuditText
from pgolf.audit.effort import DEFAULT, THOROUGH
from pgolf.audit.run_scorers import RunScorers
from pgolf.audit.subject import Declared, Subject
from pgolf.audit.verdict import Verdict
from pgolf.corpus.dataset import Dataset, open_dataset
from pgolf.corpus.shards import validation_tokens
from pgolf.errors import DataError
from pgolf.eval.ttt_config import LoraConfig, TttConfig
from pgolf.run_options import Made, Progress, RunOptions

VERDICTS_FILE = "verdicts.json"


def make(config: AuditConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Try the scorers; writes verdicts.json.

    inputs: `model`, a folder with a packed model, and `data`. The network computes in float32 on the CPU whatever the
    run did: what is tried is how a score comes about. Raises what loading the model raises, DataError for validation
    data that are shorter than two texts of `config.least_targets`.
    """
    began_s = time.perf_counter()
    dataset = open_dataset(inputs["data"])
    text = text_of(dataset, config.least_targets)
    scorers = _run_scorers(config, inputs["model"], dataset, run.threads)
    elsewhere = {"1 thread": _run_scorers(config, inputs["model"], dataset, 1)}
    if config.score.batch_means is None:
        batches = config.model_copy(update={"score": config.score.model_copy(update={"batch_windows": 3})})
        elsewhere["batches of 3 windows"] = _run_scorers(batches, inputs["model"], dataset, run.threads)
    loaded_s = time.perf_counter()
    total = len(config.scorers) * (len(CHECKS) + 1)
    done = 0

    def listen(_verdict: Verdict) -> None:
        nonlocal done
        done += 1
        run.report(Progress(stage="audit", done=done, total=total, unit="checks"))

    audits = []
    for column, (name, scorer) in enumerate(zip(scorers.names, scorers.scorers())):
        variants = {what: other.scorers()[column] for what, other in elsewhere.items()}
        subject = Subject(name=name, scorer=scorer, declared=declared_by(config), variants=variants)
        effort = THOROUGH if config.thorough else DEFAULT
        audits.append(audit(subject, text, effort=effort, seed=config.seed, listen=listen))
    entries = [_entry(one, declared_by(config)) for one in audits]
    document = {"targets": text.targets, "vocab_size": text.vocab_size, "scorers": entries}
    (out / VERDICTS_FILE).write_text(json.dumps(document, indent=1))
    return Made(
        phases_s={"load": loaded_s - began_s, "try": time.perf_counter() - loaded_s},
        facts={
            "scorers": len(audits),
            "targets": text.targets,
            **{what: sum(one.outcome == what for one in audits) for what in ("pass", "fail", "inconclusive")},
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


def _run_scorers(config: AuditConfig, model: Path, dataset: Dataset, threads: int) -> RunScorers:
    return RunScorers(
        model / "model.pgolf",
        vocab_size=dataset.vocab_size,
        bos_id=dataset.bos_id,
        score=config.score,
        mix=config.mix,
        counts={one.estimator: one for one in config.counts},
        hint=config.hint,
        only=config.scorers,
        threads=threads,
    )


def _entry(one: Audit, declared: Declared) -> dict[str, Any]:
    return {
        "cell": one.name,
        "declared": asdict(declared),
        "outcome": one.outcome,
        "verdicts": [verdict.to_json() for verdict in one.verdicts],
    }
