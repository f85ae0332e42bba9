"""Whether a submission's numbers agree wherever they stand: submission.json = logs = README's table = files on disk.

Numbers are compared as they are written. Two agree if the one with more digits rounds to the other.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from statistics import stdev
from typing import Any

from pgolf.submission.folder_files import JSON, SCRIPT, FolderFiles
from pgolf.submission.folder_json import declared_seeds, seed_results
from pgolf.submission.printed_scores import printed_scores

_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w.]*\d)")
_BYTES_OF_SEED = ("artifact_bytes", "code_bytes", "total_bytes", "bytes_total")
_LEAST_BYTES = 1000  # smaller numbers stand for much else in a log


def disagreements(files: FolderFiles) -> Iterator[str]:
    """Every number that differs from what it should be, both values with their places, a sentence each."""
    about = files.about
    if about is None:
        return
    results = seed_results(about)
    for seed, fields in results.items():
        yield from _against_log(files, seed, fields)
        yield from _against_readme(files, seed, fields)
        yield from _against_disk(files, seed, fields)
    yield from _means(files, results)
    code = about.get("bytes_code")
    if type(code) is int and SCRIPT in files.sizes and code != files.sizes[SCRIPT]:
        yield f"{JSON} bytes_code says {code:,}, {SCRIPT} has {files.sizes[SCRIPT]:,} bytes on disk"
    totals = {seed: total for seed, fields in results.items() if (total := total_bytes(fields)) is not None}
    most = about.get("bytes_total")
    if type(most) is int and totals and most != max(totals.values()):
        seed = max(totals, key=totals.__getitem__)
        yield f"{JSON} bytes_total says {most:,}, its largest seed, {seed}, {totals[seed]:,}"
    if not results:
        yield from _single(files)


def missing_seeds(files: FolderFiles) -> Iterator[str]:
    """Seeds that are named in one place and not in another."""
    if files.about is None:
        return
    seeds, results = declared_seeds(files.about), seed_results(files.about)
    for seed in seeds:
        if results and seed not in results:
            yield f"seed {seed} is declared and has no seed_results"
        if seed not in files.logs:
            yield f"no train_seed{seed}.log of seed {seed}"
    for seed in files.logs.keys() - set(seeds) if seeds else ():
        yield f"train_seed{seed}.log is of a seed that {JSON} does not name"


def total_bytes(fields: Any) -> int | None:
    """Script and model of a seed together. Published folders call it artifact_bytes where they have no other."""
    for name in ("total_bytes", "bytes_total"):
        if type(fields.get(name)) is int:
            return int(fields[name])
    model, code = fields.get("artifact_bytes"), fields.get("code_bytes")
    if type(model) is not int:
        return None
    return model + code if type(code) is int else model


def agree(a: Decimal, b: Decimal) -> bool:
    """Whether the one with more digits rounds to the other."""
    coarse = max(_exponent(a), _exponent(b))
    unit = Decimal(1).scaleb(coarse)
    for rounding in (ROUND_HALF_EVEN, ROUND_HALF_UP):
        if a.quantize(unit, rounding) == b.quantize(unit, rounding):
            return True
    return False


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _against_log(files: FolderFiles, seed: int, fields: Any) -> Iterator[str]:
    log = files.logs.get(seed)
    if log is None:
        return
    where = f"train_seed{seed}.log"
    scores = printed_scores(log)
    if not scores:
        yield f"{where} has no val_bpb"
        return
    for name, told in (
        ("val_bpb", [Decimal(one.bpb_text) for one in scores]),
        ("val_loss", [Decimal(one.loss_text) for one in scores if one.loss_text is not None]),
    ):
        yield from _one_of(f"{JSON} seed_results[{seed}].{name}", fields.get(name), told, where)
    sizes = [
        Decimal(number.replace(",", ""))
        for line in log.splitlines()
        if "byte" in line.lower() or "size" in line.lower()
        for number in _NUMBER.findall(line)
        if "." not in number and int(number.replace(",", "")) >= _LEAST_BYTES
    ]
    total = total_bytes(fields)
    if sizes and total is not None:
        yield from _one_of(f"{JSON} seed_results[{seed}], bytes together,", total, sizes, where)


def _one_of(what: str, value: Any, told: Sequence[Decimal], where: str) -> Iterator[str]:
    """Unless a value is one of those, say so, with the nearest."""
    if isinstance(value, bool) or not isinstance(value, Decimal | int) or not told:
        return
    value = Decimal(value)
    if not any(agree(value, one) for one in told):
        nearest = min(told, key=lambda one: abs(one - value))
        yield f"{what} says {_text(value)}, {where} {_text(nearest)}"


def _against_readme(files: FolderFiles, seed: int, fields: Any) -> Iterator[str]:
    """By the row of a table that begins with the seed."""
    for heads, cells in _rows(files.readme):
        if not re.fullmatch(rf"\W*(?:seed\W*)?{seed}\W*", cells[0], re.IGNORECASE):
            continue
        told: dict[str, list[Decimal]] = {"val_bpb": [], "val_loss": [], "bytes": []}
        for head, cell in zip(heads, cells, strict=False):
            found = _NUMBER.search(cell)
            if found is None:
                continue
            number = Decimal(found[0].replace(",", ""))
            if re.search(r"bpb|bits.{0,3}byte", head):
                told["val_bpb"].append(number)
            elif re.search(r"loss|nats", head):
                told["val_loss"].append(number)
            elif re.search(r"\bbytes\b|\(b\)|artifact|total|size", head) and number >= _LEAST_BYTES:
                told["bytes"].append(number)
        for name in ("val_bpb", "val_loss"):
            where = f"README.md, row of seed {seed},"
            yield from _one_of(f"{JSON} seed_results[{seed}].{name}", fields.get(name), told[name], where)
        sizes = [fields[name] for name in _BYTES_OF_SEED if type(fields.get(name)) is int]
        total = total_bytes(fields)
        if told["bytes"] and total is not None:
            for number in told["bytes"]:
                if number not in (*sizes, total):
                    nearest = min((*sizes, total), key=lambda one: abs(one - number))
                    yield f"README.md, row of seed {seed}, says {_text(number)} bytes, {JSON} {nearest:,}"


def _rows(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Heads, in lower case, and cells of every row of every table in Markdown."""
    heads: list[str] = []
    for line in text.splitlines():
        if not line.lstrip().startswith("|"):
            heads = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not heads:
            heads = [cell.lower() for cell in cells]
        elif not all(re.fullmatch(r":?-*:?", cell) for cell in cells):
            yield heads, cells


def _against_disk(files: FolderFiles, seed: int, fields: Any) -> Iterator[str]:
    where = f"{JSON} seed_results[{seed}]"
    code, model, total = (fields.get(name) for name in ("code_bytes", "artifact_bytes", "total_bytes"))
    if type(code) is int and SCRIPT in files.sizes and code != files.sizes[SCRIPT]:
        yield f"{where}.code_bytes says {code:,}, {SCRIPT} has {files.sizes[SCRIPT]:,} bytes on disk"
    if type(code) is int and type(model) is int and type(total) is int and total != code + model:
        yield f"{where}.total_bytes says {total:,}, its code and model are {code + model:,}"
    path = files.models.get(seed)
    if path is not None and type(model) is int and model != (on_disk := path.stat().st_size):
        yield f"{where}.artifact_bytes says {model:,}, {path.name} has {on_disk:,} bytes on disk"


def _means(files: FolderFiles, results: Any) -> Iterator[str]:
    assert files.about is not None
    for name in ("val_bpb", "val_loss"):
        of_seeds = [fields[name] for fields in results.values() if isinstance(fields.get(name), Decimal)]
        if not of_seeds or len(of_seeds) < len(results):
            continue
        told = files.about.get(name)
        if isinstance(told, Decimal):
            mean = sum(of_seeds, Decimal()) / len(of_seeds)
            if not _agree_computed(told, mean, of_seeds):
                yield f"{JSON} {name} says {_text(told)}, the mean of its {len(of_seeds)} seeds is {mean:.8f}"
        spread = files.about.get(f"{name}_std")
        if isinstance(spread, Decimal) and len(of_seeds) > 1:
            computed = Decimal(stdev(of_seeds))
            if not _agree_computed(spread, computed, of_seeds):
                yield (
                    f"{JSON} {name}_std says {_text(spread)}, the sample standard deviation of its seeds is "
                    f"{computed:.8f}"
                )


def _agree_computed(told: Decimal, computed: Decimal, of: Sequence[Decimal]) -> bool:
    """Whether a number may have been computed from others that were rounded before they were written."""
    unit = Decimal(1).scaleb(max(_exponent(told), *map(_exponent, of)))
    # In float, as anybody computes it: the last of 17 digits is nobody's.
    slack = max(map(abs, of)) * Decimal("1e-14")
    return agree(told, computed) or abs(told - computed) <= max(unit / 2, slack)


def _single(files: FolderFiles) -> Iterator[str]:
    """A folder that has one result, and no table of seeds."""
    assert files.about is not None
    scores = [score for log in files.logs.values() for score in printed_scores(log)]
    told = files.about.get("val_bpb")
    if not scores or not isinstance(told, Decimal):
        return
    texts = [Decimal(one.bpb_text) for one in scores]
    lasts = [Decimal(found[-1].bpb_text) for log in files.logs.values() if (found := printed_scores(log))]
    mean = sum(lasts, Decimal()) / len(lasts)
    if not _agree_computed(told, mean, lasts):
        yield from _one_of(f"{JSON} val_bpb", told, texts, "the logs'")


def _text(value: Decimal) -> str:
    return f"{value:,}" if _exponent(value) >= 0 else str(value)
