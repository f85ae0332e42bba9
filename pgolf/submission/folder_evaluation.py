"""Evaluates a submission's folder in the clean room, and holds what its script prints against everything else."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from pgolf.bundle.script_settings import Settings
from pgolf.bundle.settings_read import settings_in
from pgolf.corpus.data_files import DataFiles
from pgolf.errors import ConfigError, PgolfError
from pgolf.submission.as_written import agree
from pgolf.submission.changed_text import not_computed, write_changed
from pgolf.submission.checked import Checked
from pgolf.submission.clean_room import DATA, EVALUATION_S, NAMESPACES, START_S, Evaluated, evaluate
from pgolf.submission.folder_bytes import check_bytes
from pgolf.submission.folder_check import check_requirements
from pgolf.submission.folder_files import JSON, MODEL, SCRIPT, FolderFiles
from pgolf.submission.folder_json import seed_results
from pgolf.submission.printed_scores import PrintedScore

OwnScores = Callable[[Settings, Path, DataFiles], tuple[PrintedScore, ...]]

_STEP = re.compile(r"\b(?:step|train)\s{0,3}[:=]?\s{0,3}(\d[\d,]{0,20})\s{0,3}/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """How a folder's script is run. arguments: None for those of a script of `pgolf bundle`. seeds: empty for all."""

    arguments: Sequence[str] | None = None
    environment: Mapping[str, str] | None = None
    processes: int = 1
    limit_s: float = EVALUATION_S + START_S
    seeds: Sequence[int] = ()
    train_steps: int = 0
    isolate: bool = True


def check_evaluation(
    files: FolderFiles, data: DataFiles, running: Running, own_scores: OwnScores, say: Callable[[str], None]
) -> Iterator[Checked]:
    """Run the script on each packed model, or alone where there is none, and judge what it did and printed.

    own_scores: computes the scores by other code, without the script. say: is told what begins.
    """
    if SCRIPT not in files.sizes:
        return
    settings = None
    try:
        settings = settings_in(files.script)
    except ConfigError as error:
        yield Checked(name="settings", proves="the script's settings can be read", passed=None, said=str(error))
    is_ours = b"\nm.R=" in files.script
    words = running.arguments
    if words is None:
        words = ("eval", "--data", DATA) if is_ours else ()
    if is_ours and not files.models and running.arguments is None:
        proves = "the script gives its scores alone"
        yield Checked(name="clean room", proves=proves, passed=None, said=_no_model(files))
        return
    local, imports = set(), set()
    models = {seed: path for seed, path in files.models.items() if not running.seeds or seed in running.seeds}
    if is_ours:
        lacking = sorted({*running.seeds, *(() if running.seeds else seed_results(files.about or {}))} - {*models})
        if lacking and None not in models:
            proves, said = (
                "every seed's model gives its score",
                f"no packed model of seed {', '.join(map(str, lacking))}",
            )
            yield Checked(name="models", proves=proves, passed=False if running.seeds else None, said=said)
    for seed, model in sorted(models.items(), key=lambda one: one[0] or 0) if is_ours else [(None, None)]:
        of = "" if seed is None else f"seed {seed}: "
        say(f"{of}evaluating {SCRIPT} in the clean room, at most {running.limit_s:,.0f} s")
        beside = {} if model is None else {MODEL: model}
        room = _evaluate(files, data, running, words, beside)
        local |= {name for name in room.opened if name != SCRIPT and name not in (MODEL, *_names(files))}
        imports |= {*room.imports}
        yield from _of_room(room, of)
        if room.exit_code != 0 or not room.scores:
            if is_ours and settings is not None and model is not None and room.ended_by is None:
                # A bundled script says by a number what is wrong with a model; this says it in words.
                say(f"{of}asking pgolf's own code")
                yield _against_own(settings, model, data, room, own_scores, of)
            continue
        yield from _against_said(files, seed, room, of)
        if settings is not None and model is not None:
            say(f"{of}computing the same by pgolf's own code")
            yield _against_own(settings, model, data, room, own_scores, of)
        else:
            say(f"{of}evaluating {SCRIPT} on another text")
            yield _against_changed(files, data, running, words, beside, room, of)
    yield from check_bytes(files, local)
    yield from check_requirements(files, imports)
    if running.train_steps:
        say(f"training {running.train_steps:,} steps in the clean room")
        yield _training(files, data, running, is_ours)


def _names(files: FolderFiles) -> list[str]:
    return [path.name for path in files.models.values()]


def _no_model(files: FolderFiles) -> str:
    beside = f"{files.folder.absolute().name}.models"
    return f"no packed model: neither {MODEL} nor model_seed<N>.pgolf in it, nor in {beside} beside it"


def _evaluate(
    files: FolderFiles,
    data: DataFiles,
    running: Running,
    words: Sequence[str],
    beside: Mapping[str, Path],
    **more: object,
) -> Evaluated:
    return evaluate(
        files.folder,
        data,
        arguments=words,
        limit_s=running.limit_s,
        processes=running.processes,
        beside=beside,
        environment=running.environment,
        isolate=running.isolate,
        **more,  # type: ignore[arg-type]
    )


def _of_room(room: Evaluated, of: str) -> Iterator[Checked]:
    proves = "the script reaches its own files, tokenizer and validation shards alone, and ends well in time"
    for said in room.findings:
        yield Checked(name="clean room", proves=proves, passed=False, said=of + said, wall_s=room.wall_s)
    if not room.findings:
        opened = ", ".join(room.opened)
        how = "in namespaces" if room.isolation == NAMESPACES else f"in {room.isolation}"
        ran = f"; ran {', '.join(room.programs[:5])}" if room.programs else ""
        said = f"{of}ends well, {how}; opened {opened} and {len(room.data_opened)} files of the data{ran}"
        yield Checked(name="clean room", proves=proves, passed=True, said=said, wall_s=room.wall_s)
    if room.exit_code == 0 and not room.scores:
        yield Checked(name="score", proves="the script prints val_bpb", passed=False, said=f"{of}prints no val_bpb")


def _against_said(files: FolderFiles, seed: int | None, room: Evaluated, of: str) -> Iterator[Checked]:
    """What it prints here against the JSON's and the log's result."""
    proves = f"the script prints here what {JSON} and its log say"
    results = seed_results(files.about or {})
    seeds = results if seed is None else {seed: results.get(seed, {})}
    said_by = {f"seed_results[{one}].val_bpb": fields.get("val_bpb") for one, fields in seeds.items()}
    if not results:
        said_by = {"val_bpb": (files.about or {}).get("val_bpb")}
    told = {where: value for where, value in said_by.items() if isinstance(value, Decimal)}
    if not told:
        return
    printed = [one.bpb_text for one in room.scores]
    for value in told.values():
        if any(agree(Decimal(text), value) for text in printed):
            yield Checked(name="score", proves=proves, passed=True, said=f"{of}val_bpb {value}, as {JSON} says")
            return
    where, value = next(iter(told.items()))
    said = f"{of}prints val_bpb {', '.join(printed[-3:])}; {JSON} {where} says {value}"
    yield Checked(name="score", proves=proves, passed=False, said=said)


def _against_own(
    settings: Settings, model: Path, data: DataFiles, room: Evaluated, own_scores: OwnScores, of: str
) -> Checked:
    proves = "pgolf's own code gives the same scores on the same model and text, to the last digit"
    try:
        own = own_scores(settings, model, data)
    except PgolfError as error:
        return Checked(name="own score", proves=proves, passed=False, said=f"{of}{error}")
    theirs, ours = ([(one.bpb_text, one.loss_text) for one in scores] for scores in (room.scores, own))
    if theirs == ours:
        said = f"{of}{len(own)} scores, each the same to the last digit, the last {own[-1].bpb_text}"
        return Checked(name="own score", proves=proves, passed=True, said=said)
    pairs = zip([*theirs, *[("nothing", None)] * len(ours)], [*ours, *[("nothing", None)] * len(theirs)], strict=False)
    printed, computed = next((a[0], b[0]) for a, b in pairs if a != b)
    said = f"{of}the script prints val_bpb {printed}, pgolf's own code gives {computed}"
    return Checked(name="own score", proves=proves, passed=False, said=said)


def _against_changed(
    files: FolderFiles,
    data: DataFiles,
    running: Running,
    words: Sequence[str],
    beside: Mapping[str, Path],
    room: Evaluated,
    of: str,
) -> Checked:
    proves = "the script computes its score: of another text it prints another one"
    with tempfile.TemporaryDirectory(prefix="pgolf-") as folder:
        again = _evaluate(files, write_changed(data, Path(folder)), running, words, beside)
    same = not_computed(room.scores, again.scores)
    if same:
        said = f"{of}prints val_bpb {', '.join(same)} of another text too: printed, not computed"
        return Checked(name="computed", proves=proves, passed=False, said=said)
    if not again.scores:
        said = f"{of}prints no val_bpb of another text (exit code {again.exit_code})"
        return Checked(name="computed", proves=proves, passed=False, said=said)
    said = f"{of}val_bpb {room.scores[-1].bpb_text}, and {again.scores[-1].bpb_text} of the tokens in another order"
    return Checked(name="computed", proves=proves, passed=True, said=said)


def _training(files: FolderFiles, data: DataFiles, running: Running, is_ours: bool) -> Checked:
    """Start its training, and end it once it has said of enough steps."""
    proves = "the script trains in the clean room"
    words = ("train", "--data", DATA, "--artifact", "trained.pgolf") if is_ours else running.arguments or ()

    def is_far_enough(printed: str) -> bool:
        return _steps(printed) >= running.train_steps

    room = _evaluate(files, data, running, words, {}, with_training=True, until=is_far_enough)
    steps = _steps(room.output + room.errors)
    wrong = [said for said in room.findings if "validation shard" not in said]
    said = "; ".join(wrong) or f"{steps:,} steps in {room.wall_s:.0f} s"
    return Checked(name="training", proves=proves, passed=not wrong and steps > 0, said=said, wall_s=room.wall_s)


def _steps(printed: str) -> int:
    return max((int(found.replace(",", "")) for found in _STEP.findall(printed)), default=0)
