"""What the author of a program says of it: in a submission's folder, or by the numbers that are given instead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from pgolf.audit.subject import Reported, Whole
from pgolf.errors import ConfigError
from pgolf.submission.as_written import places
from pgolf.submission.checked import Checked
from pgolf.submission.folder_bytes import check_reported_bytes, check_said_bytes
from pgolf.submission.folder_check import check_folder
from pgolf.submission.folder_files import JSON, SCRIPT, read_folder
from pgolf.submission.folder_json import is_record, seed_results

# Digits to which scores are compared at most; one with fewer is compared to those that it has.
_MOST_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """bpb, loss_nats: of the whole validation text, as written; None where nothing is said. targets, text_bytes: of it.

    findings: of the folder. seeds: with results there. of_seeds: whose scores these are, or their mean. is_record: it
    is held to be one.
    """

    bpb: Decimal | None = None
    loss_nats: Decimal | None = None
    targets: int | None = None
    text_bytes: int | None = None
    findings: Sequence[Checked] = ()
    seeds: Sequence[int] = ()
    of_seeds: Sequence[int] = ()
    is_record: bool = False

    def with_numbers(self, *, bpb: Decimal | None, loss_nats: Decimal | None, size_bytes: int | None) -> Self:
        """The same with numbers that are given beside the folder, or in place of its own."""
        told = self
        if bpb is not None or loss_nats is not None:
            # A loss of one source over bits of another would be nobody's report.
            told = replace(told, bpb=bpb, loss_nats=loss_nats, of_seeds=())
        if size_bytes is not None:
            told = replace(told, findings=(*told.findings, check_said_bytes(size_bytes)))
        return told

    def about(self, whole: Whole) -> Reported | None:
        """As what is reported about a text; None where nothing is."""
        if self.bpb is None and self.loss_nats is None and self.targets is None and self.text_bytes is None:
            return None
        return Reported(
            bpb=None if self.bpb is None else float(self.bpb),
            loss_sum_nats=None if self.loss_nats is None else float(self.loss_nats) * whole.targets,
            targets=self.targets,
            bytes=self.text_bytes,
            off_bpb=_half_unit(self.bpb),
            off_nats=_half_unit(self.loss_nats),
        )


def submitted(folder: Path, *, seed: int | None = None) -> Submitted:
    """What a folder says that holds train_gpt.py or submission.json; another is no submission, and says nothing.

    seed: whose scores, None: the mean's. Raises ConfigError as `read_folder` does, and for a seed that has no results.
    """
    if not any((folder / name).exists() or (folder / name).is_symlink() for name in (JSON, SCRIPT)):
        if seed is not None:
            raise ConfigError(f"--of-seed {seed}: {folder} holds no {JSON}, which would say of which seed what is")
        return Submitted()
    files = read_folder(folder)
    about: Mapping[str, Any] = files.about or {}
    results = seed_results(about)
    if seed is not None and seed not in results:
        there = f"those of {', '.join(map(str, results))}" if results else "of no seed"
        raise ConfigError(f"--of-seed {seed}: {folder / JSON} has results {there}")
    if seed is None and len(results) == 1:
        seed = next(iter(results))
    fields = about if seed is None else results[seed]
    return Submitted(
        bpb=_score(fields.get("val_bpb")),
        loss_nats=_score(fields.get("val_loss")),
        targets=_count(fields.get("val_targets")),
        text_bytes=_count(fields.get("val_bytes")),
        findings=(*check_folder(files), *check_reported_bytes(files)),
        seeds=tuple(results),
        of_seeds=tuple(results) if seed is None else (seed,),
        is_record=is_record(about),
    )


def _score(value: Any) -> Decimal | None:
    """A number above 0; what is wrong with another one the folder's own checks say."""
    if isinstance(value, bool) or not isinstance(value, Decimal | int) or value <= 0:
        return None
    return Decimal(value)


def _count(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _half_unit(value: Decimal | None) -> float:
    return 0.5 * 10.0 ** -(_MOST_DIGITS if value is None else min(places(value), _MOST_DIGITS))
