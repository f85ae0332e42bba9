"""A program on trial: the text it is tried on, cut from token shards, and what it must not find. Shapes: N targets."""

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.program_process import Limits, Program
from pgolf.audit.program_scorer import ProgramScorer
from pgolf.audit.scorer import ScorerFault, Tokens, checked_losses
from pgolf.audit.subject import Declared, Reported, Subject, Whole
from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.data_files import find_data
from pgolf.corpus.dataset import SHARD_PREFIX, shard_name
from pgolf.corpus.model_file import read_model
from pgolf.corpus.shards import read_shard
from pgolf.errors import ConfigError, DataError

DEFAULT_TARGETS = 2048
_FEWEST_TARGETS = 16
# Read, and fed, at a time of a text of any length.
_PART_TOKENS = 1 << 16
# So many tokens in a row are no coincidence.
_NEEDLE_TOKENS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardText:
    """A text cut from shards, and all that they hold. files: those that it lies in, and all others of the data set but
    the tokenizer.
    """

    text: AuditText
    whole: Whole
    files: tuple[Path, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedProgram:
    """hidden: files of the program's own folder that hold the text, which it therefore does not find there."""

    subject: Subject
    scorer: ProgramScorer
    hidden: tuple[Path, ...]


def shard_text(tokens: Path, tokenizer: Path | None, *, targets: int = DEFAULT_TARGETS) -> ShardText:
    """The first targets of a shard, or of the validation shards of a data folder; another text from their end.

    Where they hold fewer than twice as many, half of what they hold. tokenizer: may be left out for a folder that has
    one. Raises ConfigError, DataError, ShardError or TokenizerError.
    """
    if targets < _FEWEST_TARGETS:
        raise ConfigError(f"--targets takes a number of at least {_FEWEST_TARGETS}, got {targets}")
    if tokens.is_dir():
        data = find_data(tokens, tokenizer)
        shards, byte_shards, model = data.val, data.val_bytes, data.tokenizer
        files = (*data.val, *data.val_bytes, *data.train)
    elif tokenizer is None:
        raise ConfigError(f"{tokens} is one shard; say what its tokens are with --tokenizer MODEL")
    else:
        shards, byte_shards, model, files = (tokens,), (), tokenizer, (tokens,)
    processor = read_model(tokenizer or model)
    vocab_size = int(processor.get_piece_size())
    stream = _stream(shards, vocab_size)
    count = min(targets, stream.size // 2 - 1)
    if count < _FEWEST_TARGETS:
        raise DataError(
            f"{tokens}: {stream.size:,} tokens, and a trial takes {2 * _FEWEST_TARGETS + 2:,} at least: half of them "
            "are the text, the rest is put in its place"
        )
    text = np.array(stream[: count + 1])
    bos_id = int(processor.bos_id())
    counted = _joined([read_shard(path) for path in byte_shards]) if byte_shards else None
    table = ByteTable.from_processor(processor)
    return ShardText(
        text=AuditText(
            tokens=text,
            other=np.array(stream[-(count + 1) :]),
            vocab_size=vocab_size,
            bos_id=bos_id if bos_id in text else None,
            target_bytes=table.target_bytes(text) if counted is None else counted[1 : count + 1].astype(np.int64),
        ),
        whole=Whole(
            tokens=stream,
            bos_id=bos_id if bos_id >= 0 else None,
            bytes=_total_bytes(table, stream) if counted is None else int(counted[1:].sum(dtype=np.int64)),
        ),
        files=files,
    )


def _total_bytes(table: ByteTable, stream: Tokens) -> int:
    """Bytes of all targets, a part of them at a time."""
    return sum(
        int(table.target_bytes(stream[first : first + _PART_TOKENS + 1]).sum())
        for first in range(0, stream.size - 1, _PART_TOKENS)
    )


def _stream(shards: Sequence[Path], vocab_size: int) -> Tokens:
    return _joined([read_shard(path, vocab_size=vocab_size) for path in shards])


def _joined(parts: Sequence[Tokens]) -> Tokens:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def train_shards(place: Path) -> tuple[Path, ...]:
    """The training shards at or below a folder, in the order of their numbers, or the one file.

    Raises DataError for none and for two of one number, ShardError for a file that is no shard.
    """
    if not place.is_dir():
        read_shard(place)
        return (place,)
    found = sorted(place.rglob(f"{SHARD_PREFIX}_train_*.bin"), key=lambda path: path.name)
    if not found:
        raise DataError(f"{place}: no training shard, {shard_name('train', 0)}, at or below it; name their folder")
    for one, other in pairwise(found):
        if one.name == other.name:
            raise DataError(f"{place}: both {one} and {other} are there; name the folder of one data set")
    for path in found:
        read_shard(path)
    return tuple(found)


def scored_whole(whole: Whole, scorer: ProgramScorer) -> Whole:
    """The same with what the program says of all of it, fed in pieces in one evaluation; or with what it did instead.

    A program that runs for hours is ended by the scorer's limits.
    """
    N, size = whole.targets, scorer.piece_targets or _PART_TOKENS
    total_nats = 0.0
    try:
        session = scorer.start(int(whole.tokens[0]), N)
        try:
            for first in range(1, N + 1, size):
                piece = np.array(whole.tokens[first : first + size])
                total_nats += float(checked_losses(session.feed(piece), len(piece), first=first).sum())
        finally:
            session.close()
    except ScorerFault as fault:
        return replace(whole, lack=f"asked about all of it, the program {fault}")
    return replace(whole, loss_sum_nats=total_nats)


def declared_by(words: Sequence[str]) -> Declared:
    """What an author declares, from NAME=VALUE words. Raises ConfigError."""
    declared = Declared()
    for word in words:
        name, _, value = word.partition("=")
        if name == "documents_apart" and value in ("true", "false"):
            declared = replace(declared, documents_apart=value == "true")
        elif name == "chunk_targets" and value.isdecimal() and int(value) > 0:
            declared = replace(declared, chunk_targets=int(value))
        elif word != "order=file":
            raise ConfigError(
                f"--declare {word}: documents_apart=true or false, chunk_targets=N, or order=file, the only order in "
                "which a program can be fed"
            )
    return declared


@contextmanager
def tried_program(
    words: Sequence[str],
    text: ShardText,
    *,
    folder: Path,
    declared: Declared | None = None,
    shown: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    piece_targets: int | None = None,
    isolate: bool = True,
    reported: Reported | None = None,
    trained_on: Sequence[Path] = (),
    score_whole: bool = False,
) -> Iterator[TriedProgram]:
    """A program as the subject of an audit; its processes are gone at the end of the `with`.

    words: as typed in its folder. shown: further folders that it finds, read-only. piece_targets: as ProgramScorer.
    reported: of the whole text, which is scored here, before all else, where `score_whole` says so. trained_on: shards,
    which it does not find. Raises ConfigError for no words, or no folder.
    """
    if not words:
        raise ConfigError('--exec names no program; write for example --exec "python their_eval.py"')
    for path in (folder, *shown):
        if not path.is_dir():
            raise ConfigError(f"{path} is no folder")
    hidden = tuple(_holding(folder, text.text.tokens[:_NEEDLE_TOKENS]))
    program = Program(
        words=tuple(words),
        folder=folder,
        environment=environment or {},
        hidden=(*text.files, *trained_on, *hidden),
        shown=tuple(shown),
    )
    other_seed = replace(program, environment={**program.environment, "PYTHONHASHSEED": "1"})
    scorers = [
        ProgramScorer(
            one,
            vocab_size=text.text.vocab_size,
            limits=limits,
            piece_targets=piece_targets,
            isolate=isolate,
        )
        for one in (program, other_seed)
    ]
    with scorers[0], scorers[1]:
        subject = Subject(
            name=" ".join(words),
            scorer=scorers[0],
            declared=declared or Declared(),
            reported=reported,
            variants={"PYTHONHASHSEED=1": scorers[1]},
            trained_on=tuple(trained_on),
            whole=scored_whole(text.whole, scorers[0]) if score_whole else text.whole,
        )
        yield TriedProgram(subject=subject, scorer=scorers[0], hidden=hidden)


def _holding(folder: Path, tokens: Tokens) -> Iterator[Path]:
    """Files below a folder that hold these tokens."""
    needle = np.ascontiguousarray(tokens, dtype="<u2").tobytes()
    for above, _folders, names in os.walk(folder):
        for name in sorted(names):
            path = Path(above, name)
            if path.is_file() and not path.is_symlink() and path.stat().st_size >= len(needle):
                with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    if content.find(needle) >= 0:
                        yield path
