"""What of a submission counts against the cap: as its author counts it, and as its files are shipped."""

import lzma
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgolf.budget import BUDGET_BYTES
from pgolf.errors import TokenizerError
from pgolf.submission.checked import Checked
from pgolf.submission.folder_files import SCRIPT, FolderFiles
from pgolf.submission.folder_json import seed_results
from pgolf.submission.folder_numbers import total_bytes

# Comments, layout and long names may go before a script is packed, but hardly three quarters of what is then left.
_LEAST_OF_PACKED = 4
# Of what is packed here to see how small it gets: a second or two.
_MOST_PACKED_BYTES = 1 << 21


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What is known of a seed's bytes, None where it is not. model: on disk. total, code: as the JSON says."""

    seed: int | None
    model: int | None
    total: int | None
    code: int | None


def check_bytes(files: FolderFiles, local: Collection[str], unseen: Collection[str] = ()) -> list[Checked]:
    """Whether script, model and every local file that the script uses are within the cap, for every seed.

    local: names of those files, without the script and the models. unseen: of files that it may use besides. A
    tokenizer is data of the challenge like its shards, and counts for nobody (openai/parameter-golf issue #43).
    """
    tokenizers = sorted(name for name in (*local, *unseen) if is_tokenizer(files.folder / name))
    local, unseen = ([name for name in names if name not in tokenizers] for names in (local, unseen))
    script, more = files.sizes.get(SCRIPT, 0), sum(files.sizes[name] for name in local)

    def shipped(part: _Part) -> int | None:
        if part.model is not None:
            return script + part.model + more
        if part.total is None:
            return None
        return part.total + more + (0 if part.code is None else script - part.code)

    said = f", {', '.join(sorted(local))} counted ({more:,} bytes)" if local else ""
    free = sum(files.sizes[name] for name in dict.fromkeys(tokenizers))
    said += f", tokenizer {', '.join(dict.fromkeys(tokenizers))} not counted ({free:,} bytes)" if tokenizers else ""
    proves = f"script, model and all local files it uses are at most {BUDGET_BYTES:,} bytes, for every seed"
    found = _within("bytes", proves, files, shipped, said)
    beside = {name: files.sizes[name] for name in unseen if name not in local}
    most = max((total for part in _parts(files) if (total := shipped(part)) is not None), default=0)
    if most <= BUDGET_BYTES < most + sum(beside.values()):
        doubt = (
            f"{most:,} bytes, and {SCRIPT} is packed: with {', '.join(sorted(beside))} ({sum(beside.values()):,} "
            f"bytes), should it use them, {most + sum(beside.values()) - BUDGET_BYTES:,} over {BUDGET_BYTES:,}"
        )
        settles = "`pgolf check-submission DIR --data DATA`, which sees what it opens"
        return [Checked(name="bytes", proves=proves, passed=None, said=doubt, settles=settles)]
    return found


def is_tokenizer(path: Path) -> bool:
    """Whether a file is a SentencePiece model by what it holds."""
    from pgolf.corpus.model_file import read_model

    if path.suffix != ".model":
        return False
    try:
        read_model(path)
    except TokenizerError:
        return False
    return True


def check_reported_bytes(files: FolderFiles) -> list[Checked]:
    """The same by its author's count: of the code what submission.json says, be it packed and without helper files.

    A count of the script that no packing of it comes near is wrong.
    """
    script = files.sizes.get(SCRIPT, 0)

    def reported(part: _Part) -> int | None:
        if part.model is not None:
            return part.model + (script if part.code is None else part.code)
        return part.total

    proves = f"code as its author counts it and model are at most {BUDGET_BYTES:,} bytes, for every seed"
    codes = [part.code for part in _parts(files) if part.code is not None]
    if codes and min(codes) < script <= _MOST_PACKED_BYTES:
        packed = len(lzma.compress(files.script, preset=9))
        if min(codes) < packed // _LEAST_OF_PACKED:
            said = f"{min(codes):,} bytes of code are reported; {SCRIPT} has {script:,}, and {packed:,} packed by xz"
            return [Checked(name="reported bytes", proves=proves, passed=False, said=said)]
    code = f", {max(codes):,} of them code ({SCRIPT} has {script:,})" if codes and max(codes) != script else ""
    return _within("reported bytes", proves, files, reported, code)


def check_said_bytes(size_bytes: int) -> Checked:
    """The same for a number that somebody says."""
    proves = f"code and model are at most {BUDGET_BYTES:,} bytes"
    over = size_bytes - BUDGET_BYTES
    said = f"{size_bytes:,} bytes are reported, {abs(over):,} {'over' if over > 0 else 'under'} {BUDGET_BYTES:,}"
    return Checked(name="reported bytes", proves=proves, passed=over <= 0, said=said)


def _within(
    name: str, proves: str, files: FolderFiles, count: Callable[[_Part], int | None], said: str
) -> list[Checked]:
    """A finding per seed that is over the cap, or one. said: what stands behind each number."""
    totals = [(part.seed, total) for part in _parts(files) if (total := count(part)) is not None]
    if not totals:
        lack = "neither a packed model nor its bytes in the JSON: not judged"
        return [Checked(name=name, proves=proves, passed=None, said=lack)]
    wrong = [
        f"{'' if seed is None else f'seed {seed}: '}{total:,} bytes, {total - BUDGET_BYTES:,} over {BUDGET_BYTES:,}"
        for seed, total in totals
        if total > BUDGET_BYTES
    ]
    if wrong:
        return [Checked(name=name, proves=proves, passed=False, said=one + said) for one in wrong]
    most = max(total for _, total in totals)
    right = f"at most {most:,}, {BUDGET_BYTES - most:,} under{said}"
    return [Checked(name=name, proves=proves, passed=True, said=right)]


def _parts(files: FolderFiles) -> Iterator[_Part]:
    """One per seed, or one for a folder that has a single result."""
    about = files.about or {}
    results, lacks = seed_results(about), True
    for seed in sorted({*results, *(seed for seed in files.models if seed is not None)}):
        fields = results.get(seed, {})
        part = _part(files, seed, total_bytes(fields), fields.get("code_bytes", about.get("bytes_code")))
        lacks &= part.model is None and part.total is None
        yield part
    if lacks:
        yield _part(files, None, about.get("bytes_total"), about.get("bytes_code"))


def _part(files: FolderFiles, seed: int | None, total: Any, code: Any) -> _Part:
    model = files.models.get(seed)
    return _Part(
        seed=seed,
        model=None if model is None else model.stat().st_size,
        total=total if type(total) is int and total >= 0 else None,
        code=code if type(code) is int and code >= 0 else None,
    )
