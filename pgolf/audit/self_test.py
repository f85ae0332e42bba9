"""The audit on trial: scorers that are known to cheat must be convicted, honest ones must not be accused.

A zoo is a folder with a file per scorer. A file has a docstring, FAMILY (what it stands for, with sources), KIND
("cheat" or "honest"), for a cheat CONVICTED_BY (checks that find it, ("B3", ...)), and subject(text, seed) -> Subject.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Literal

from pgolf.audit.audit import CHECKS, audit
from pgolf.audit.audit_text import AuditText
from pgolf.audit.effort import DEFAULT, Effort
from pgolf.audit.scorer import Scorer
from pgolf.audit.small_network import made_text
from pgolf.audit.subject import Subject
from pgolf.errors import ConfigError
from pgolf.machine.parent_death import die_with_parent

Kind = Literal["cheat", "honest"]
ZOO = Path(__file__).resolve().parents[2] / "tests" / "zoo"
SEEDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A scorer of a zoo. convicted_by: checks that find a cheat; empty where its author names none."""

    name: str
    path: Path
    family: str
    kind: Kind
    convicted_by: tuple[str, ...] = ()

    @property
    def can_be_found(self) -> bool:
        """Whether the checks that are to find it are among those there are."""
        return not self.convicted_by or bool({check.number for check in CHECKS} & {*self.convicted_by})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a member's trial with one seed came to: the checks that failed, and those that could not decide."""

    member: str
    seed: int
    failed: tuple[str, ...]
    inconclusive: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A member over all seeds. failed: seeds with which some check did; by: the checks, those of most seeds first."""

    member: Member
    seeds: int
    failed: int
    by: tuple[str, ...]
    inconclusive: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether a cheat is convicted with every seed, an honest scorer with none."""
        return self.failed == (self.seeds if self.member.kind == "cheat" else 0)


def load_zoo(folder: Path) -> tuple[Member, ...]:
    """The members of a folder, cheats first, by name. Raises ConfigError for a file that is no member."""
    paths = sorted(path for path in folder.glob("*.py") if path.stem != "__init__") if folder.is_dir() else []
    if not paths:
        raise ConfigError(f"no zoo at {folder}: it has no file NAME.py of a scorer; --zoo DIR names another folder")
    return tuple(sorted((_member(path) for path in paths), key=lambda member: (member.kind, member.name)))


def _member(path: Path) -> Member:
    module = _loaded(path)
    family, kind = getattr(module, "FAMILY", None), getattr(module, "KIND", None)
    by = getattr(module, "CONVICTED_BY", ())
    said = f"{path} is no member of a zoo"
    if not isinstance(family, str):
        raise ConfigError(f'{said}: FAMILY says what it stands for, e.g. FAMILY = "entropy expert (#745)"')
    if kind not in ("cheat", "honest"):
        raise ConfigError(f'{said}: KIND is "cheat" or "honest", got {kind!r}')
    if not callable(getattr(module, "subject", None)):
        raise ConfigError(f"{said}: subject(text, seed) returns the pgolf.audit.subject.Subject to try")
    if not (isinstance(by, tuple) and all(isinstance(number, str) for number in by)):
        raise ConfigError(f'{said}: CONVICTED_BY names checks, e.g. CONVICTED_BY = ("B3",), got {by!r}')
    return Member(name=path.stem.replace("_", " "), path=path, family=family, kind=kind, convicted_by=by)


def _loaded(path: Path) -> ModuleType:
    """The file as a module that has not run before."""
    name = f"zoo_member_{path.stem}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # as dataclasses need it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{path} does not load: {_in_short(error, path)}") from error
    return module


def _in_short(error: Exception, path: Path) -> str:
    own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = f"line {own[-1]}, " if own else ""
    return f"{line}{type(error).__name__}: {error}"


def subject_of(member: Member, text: AuditText, seed: int) -> Subject:
    """What a member puts on trial, loaded anew, and able to give fresh copies. Raises ConfigError if it is none."""

    def made() -> Subject:
        subject = _loaded(member.path).subject(text, seed)
        if not isinstance(subject, Subject):
            raise TypeError(f"subject(text, seed) returned {type(subject).__name__}, not a pgolf.audit.subject.Subject")
        return subject

    def fresh() -> Scorer:
        return made().scorer

    try:
        return replace(made(), fresh=fresh)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{member.path} with seed {seed}: {_in_short(error, member.path)}") from error


def try_member(member: Member, seed: int, *, effort: Effort = DEFAULT, at_once: bool = False) -> Tried:
    """Try a member on the text that a seed makes.

    at_once: a cheat's own checks come first, and the first that fails ends the trial. Raises ConfigError if the member
    has no subject to try.
    """
    text = made_text(seed)
    own = [check for check in CHECKS if check.number in member.convicted_by]
    groups = [CHECKS]
    if at_once and member.kind == "cheat":
        groups = [*((check,) for check in own), tuple(check for check in CHECKS if check not in own)]
    failed: list[str] = []
    inconclusive: list[str] = []
    for checks in groups:
        # What each group asks first is the first question that its subject hears.
        found = audit(subject_of(member, text, seed), text, effort=effort, seed=seed, checks=checks)
        failed += [verdict.number for verdict in found.of("fail")]
        inconclusive += [verdict.number for verdict in found.of("inconclusive")]
        if at_once and failed and member.kind == "cheat":
            break
    return Tried(member=member.name, seed=seed, failed=tuple(failed), inconclusive=tuple(inconclusive))


def self_test(
    members: Sequence[Member],
    seeds: int = SEEDS,
    *,
    effort: Effort = DEFAULT,
    processes: int = 2,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[Row, ...]:
    """Try every member with the seeds 0 to seeds - 1. progress: is told after each trial how many of how many are done.

    With seed 0 every check runs; with the others a cheat's trial ends with its conviction.
    """
    work = [(member, seed) for seed in range(seeds) for member in members]
    found: list[Tried] = []
    for tried in _each(work, effort, processes):
        found.append(tried)
        progress(len(found), len(work))
    return tuple(_row(member, [tried for tried in found if tried.member == member.name]) for member in members)


def _each(work: Iterable[tuple[Member, int]], effort: Effort, processes: int) -> Iterator[Tried]:
    if processes == 1:
        for member, seed in work:
            yield try_member(member, seed, effort=effort, at_once=seed > 0)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin_worker, (os.getpid(),))
    try:
        waiting = [pool.submit(try_member, member, seed, effort=effort, at_once=seed > 0) for member, seed in work]
        for future in as_completed(waiting):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker(parent_pid: int) -> None:
    if sys.platform == "linux":
        die_with_parent(parent_pid)


def _row(member: Member, found: Sequence[Tried]) -> Row:
    def most_first(numbers: Iterable[str]) -> tuple[str, ...]:
        every = list(numbers)
        return tuple(sorted({*every}, key=lambda number: (-every.count(number), int(number[1:]))))

    return Row(
        member=member,
        seeds=len(found),
        failed=sum(bool(tried.failed) for tried in found),
        by=most_first(number for tried in found for number in tried.failed),
        inconclusive=most_first(number for tried in found for number in tried.inconclusive if not tried.failed),
    )
