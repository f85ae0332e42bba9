"""Whether a submission's numbers agree wherever they stand: submission.json = logs = README's table = files on disk.

Numbers are compared as they are written. Two agree if the one with more digits rounds to the other.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from statistics import stdev
from typing import Any

from pgolf.budget import CLOCK_LIMIT_S
from pgolf.submission.as_written import agree, agree_computed, as_written, places, rounded, unless_one_of
from pgolf.submission.folder_files import JSON, SCRIPT, FolderFiles
from pgolf.submission.folder_json import declared_seeds, is_record, seed_results
from pgolf.submission.log_facts import facts_in
from pgolf.submission.printed_scores import PrintedScore, lines_in, printed_scores
from pgolf.submission.readme_numbers import LEAST_BYTES, NUMBER, against_itself, against_seed

_NO_CODE_LENGTH = ": no code length"
_BYTES_OF_SEED = ("artifact_bytes", "code_bytes", "total_bytes", "bytes_total")


def disagreements(files: FolderFiles) -> Iterator[str]:
    """Every number that differs from what it should be, both values with their places, a sentence each."""
    about = files.about
    if about is None:
        return
    results = seed_results(about)
    for seed, fields in results.items():
        yield from _against_log(files, seed, fields)
        sizes = {size for name in _BYTES_OF_SEED if type(size := fields.get(name)) is int}
        sizes |= {total for total in [total_bytes(fields)] if total is not None}
        scores = printed_scores(files.logs.get(seed, ""), on_the_way=True)
        yield from against_seed(files.readme, seed, fields, sorted(sizes), scores)
        yield from _against_disk(files, seed, fields)
    yield from _means(files, results)
    yield from against_itself(files.readme, list(results), about)
    yield from _same_logs(files)
    totals = {seed: total for seed, fields in results.items() if (total := total_bytes(fields)) is not None}
    most = about.get("bytes_total")
    if type(most) is int and totals and most != max(totals.values()):
        seed = max(totals, key=totals.__getitem__)
        yield f"{JSON} bytes_total says {most:,}, its largest seed, {seed}, {totals[seed]:,}"
    if not results:
        yield from _single(files)


def other_code_bytes(files: FolderFiles) -> Iterator[str]:
    """Code bytes that are said and are not those of the script on disk, such as those of a packed copy."""
    said = {"bytes_code": (files.about or {}).get("bytes_code")}
    said |= {
        f"seed_results[{seed}].code_bytes": fields.get("code_bytes")
        for seed, fields in seed_results(files.about or {}).items()
    }
    for where, code in said.items():
        if type(code) is int and SCRIPT in files.sizes and code != files.sizes[SCRIPT]:
            yield f"{JSON} {where} says {code:,}, {SCRIPT} has {files.sizes[SCRIPT]:,} bytes on disk"


def missing_seeds(files: FolderFiles) -> Iterator[str]:
    """Seeds that are named in one place and not in another."""
    if files.about is None:
        return
    seeds, results = declared_seeds(files.about), seed_results(files.about)
    named = files.about.get("seeds")
    if isinstance(named, list):
        times = Counter(one for one in named if type(one) is int)
        yield from (f"seeds names {seed} {count} times" for seed, count in times.items() if count > 1)
        for seed in sorted(results.keys() - times):
            yield f"seed {seed} has seed_results and is not among seeds"
    for seed in seeds:
        if "seed_results" in files.about and seed not in results:
            yield f"seed {seed} is declared and has no seed_results"
        if seed not in files.logs:
            yield f"no train_seed{seed}.log of seed {seed}"
    for seed in files.logs.keys() - set(seeds) if seeds else ():
        yield f"train_seed{seed}.log is of a seed that {JSON} does not name"


def other_scores(files: FolderFiles) -> Iterator[tuple[bool | None, str]]:
    """Results that a log has and does not end with: None and what is so; False if a record's is no code length."""
    results = seed_results(files.about or {})
    for seed, fields in results.items():
        value, scores = fields.get("val_bpb"), printed_scores(files.logs.get(seed, ""))
        meant = [one for one in scores if isinstance(value, Decimal) and agree(value, Decimal(one.bpb_text))]
        if not meant:
            continue
        if all(_NO_CODE_LENGTH in one.line for one in meant):
            judged = False if is_record(files.about or {}) else None
            yield judged, f"seed {seed}: val_bpb {value} is of a scorer that train_seed{seed}.log calls no code length"
        elif meant[-1] is not scores[-1]:
            last = scores[-1].bpb_text
            yield None, f"seed {seed}: val_bpb {value} is not the last score of train_seed{seed}.log, which is {last}"


def slow_clocks(files: FolderFiles) -> tuple[list[str], int]:
    """Trainings and evaluations over the rule's seconds, by the JSON or the logs, and of how many clocks they are.

    A training looks at its clock after a step: what rounds to the limit keeps it.
    """
    wrong, known = [], 0
    results = seed_results(files.about or {})
    for seed in sorted({*results, *files.logs}):
        fields, facts = results.get(seed, {}), facts_in(files.logs.get(seed, ""))
        for what, field, logged in (
            ("training", "train_time_s", facts.train_s),
            ("evaluation", "eval_time_s", facts.whole_eval_s),
        ):
            said = fields.get(field)
            clocks = [
                Decimal(one) for one in (said, logged) if isinstance(one, Decimal | int) and not isinstance(one, bool)
            ]
            known += bool(clocks)
            if clocks and rounded(max(clocks)) > CLOCK_LIMIT_S:
                wrong.append(f"seed {seed}: {what} took {as_written(max(clocks))} s of {CLOCK_LIMIT_S:g}")
    return wrong, known


def total_bytes(fields: Any) -> int | None:
    """Script and model of a seed together. Published folders call it artifact_bytes where they have no other."""
    for name in ("total_bytes", "bytes_total"):
        if type(fields.get(name)) is int:
            return int(fields[name])
    model, code = fields.get("artifact_bytes"), fields.get("code_bytes")
    if type(model) is not int:
        return None
    return model + code if type(code) is int else model


def _against_log(files: FolderFiles, seed: int, fields: Mapping[str, Any]) -> Iterator[str]:
    log = files.logs.get(seed)
    if log is None:
        return
    where, of_seed = f"train_seed{seed}.log", f"{JSON} seed_results[{seed}]"
    scores = printed_scores(log)
    if not scores:
        yield f"{where} has no val_bpb"
        return
    facts = facts_in(log)
    if facts.seeds and seed not in facts.seeds:
        yield f"{where} is of seed {', '.join(map(str, sorted(facts.seeds)))}, as it says itself"
    # What a training says on its way may be told as well, but is no result.
    on_the_way = printed_scores(log, on_the_way=True)
    for name, value in fields.items():
        if name.endswith(("val_bpb", "val_loss")):
            told = _of_kind(name, scores)
            if name not in ("val_bpb", "val_loss") and isinstance(value, Decimal):
                told += [one for one in _of_kind(name, on_the_way) if places(one) >= places(value)]
            yield from unless_one_of(f"{of_seed}.{name}", value, told, where)
    known: dict[str, Sequence[Decimal | int | None]] = {
        "steps": [facts.steps],
        "step_avg_ms": [facts.step_ms],
        "train_time_s": [facts.train_s],
        "eval_time_s": [*facts.eval_s, facts.whole_eval_s],
        "val_targets": sorted(facts.targets),
        "val_bytes": sorted(facts.text_bytes),
    }
    for name, values in known.items():
        value = fields.get(name)
        if (
            name == "steps"
            and type(value) is int
            and facts.steps is not None
            and facts.steps < value < facts.steps_until
        ):
            continue
        told = [Decimal(one) for one in values if one is not None]
        yield from unless_one_of(f"{of_seed}.{name}", value, told, where)
    sizes = list(_sizes(log))
    for name in ("artifact_bytes", "code_bytes"):
        labelled = [size for line, size in sizes if name != "code_bytes" or "code" in line]
        yield from unless_one_of(f"{of_seed}.{name}", fields.get(name), labelled, where)
    yield from unless_one_of(f"{of_seed}, bytes together,", total_bytes(fields), [size for _, size in sizes], where)


def _of_kind(field: str, scores: Sequence[PrintedScore]) -> list[Decimal]:
    texts = (one.bpb_text if field.endswith("bpb") else one.loss_text for one in scores)
    return [Decimal(text) for text in texts if text is not None]


def _sizes(log: str) -> Iterator[tuple[str, Decimal]]:
    """Each number of a line that speaks of bytes, with the line in lower case."""
    for line in lines_in(log):
        told = line.lower()
        if "byte" in told or "size" in told:
            for number in NUMBER.findall(line):
                size = Decimal(number.replace(",", ""))
                if "." not in number and size >= LEAST_BYTES:
                    yield told, size


def _against_disk(files: FolderFiles, seed: int, fields: Any) -> Iterator[str]:
    where = f"{JSON} seed_results[{seed}]"
    code, model, total = (fields.get(name) for name in ("code_bytes", "artifact_bytes", "total_bytes"))
    if type(code) is int and type(model) is int and type(total) is int and total != code + model:
        yield f"{where}.total_bytes says {total:,}, its code and model are {code + model:,}"
    path = files.models.get(seed)
    if path is not None and type(model) is int and model != (on_disk := path.stat().st_size):
        yield f"{where}.artifact_bytes says {model:,}, {path.name} has {on_disk:,} bytes on disk"


def _same_logs(files: FolderFiles) -> Iterator[str]:
    """No two seeds come to the same in every line."""
    first: dict[str, int] = {}
    for seed, log in sorted(files.logs.items()):
        if (other := first.setdefault(log, seed)) != seed and log.strip():
            yield f"train_seed{seed}.log is the same text as train_seed{other}.log"


def _means(files: FolderFiles, results: Any) -> Iterator[str]:
    assert files.about is not None
    for name in ("val_bpb", "val_loss"):
        of_seeds = [fields[name] for fields in results.values() if isinstance(fields.get(name), Decimal)]
        if not of_seeds or len(of_seeds) < len(results):
            continue
        told = files.about.get(name)
        if isinstance(told, Decimal):
            mean = sum(of_seeds, Decimal()) / len(of_seeds)
            if not agree_computed(told, mean, of_seeds):
                yield f"{JSON} {name} says {as_written(told)}, the mean of its {len(of_seeds)} seeds is {mean:.8f}"
        spread = files.about.get(f"{name}_std")
        if isinstance(spread, Decimal) and len(of_seeds) > 1:
            computed = Decimal(stdev(of_seeds))
            if not agree_computed(spread, computed, of_seeds):
                yield (
                    f"{JSON} {name}_std says {as_written(spread)}, the sample standard deviation of its seeds is "
                    f"{computed:.8f}"
                )


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
    if not agree_computed(told, mean, lasts):
        yield from unless_one_of(f"{JSON} val_bpb", told, texts, "the logs'")
