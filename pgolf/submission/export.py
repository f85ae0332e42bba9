"""Writes a submission's folder: script, JSON, README, logs and requirements of all its seeds; models beside it."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pgolf.bundle.explain import write_map
from pgolf.bundle.script import program_of
from pgolf.errors import ConfigError
from pgolf.submission.entry import Entry
from pgolf.submission.folder_check import check_folder
from pgolf.submission.folder_files import JSON, README, REQUIREMENTS, SCRIPT, read_folder
from pgolf.submission.readme_text import readme_text
from pgolf.submission.requirements_text import requirements_text
from pgolf.submission.submission_json import submission_json
from pgolf.submission.unfinished import unfinished

# Checks that no submission may fail; what else is wrong with one that is no record, its README says.
_AGREE = ("files", "json", "script", "numbers", "code bytes", "requirements")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written. models: the folder of the packed models, the submission's own or one beside it."""

    folder: Path
    models: Path
    files: Mapping[str, int]


def model_name(seed: int) -> str:
    """The file of a seed's packed model."""
    return f"model_seed{seed}.pgolf"


def log_name(seed: int) -> str:
    """The file of a seed's log."""
    return f"train_seed{seed}.log"


def refuse_taken(out: Path) -> None:
    """Raise ConfigError where a submission cannot be written to `out`."""
    if not out.name:
        raise ConfigError(f"{out} is no new folder; name one")
    for path in (out, _models_beside(out), _map_beside(out)):
        if os.path.lexists(path):
            raise ConfigError(f"{path} is there already; remove it, or name a new folder")
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: its parent folder {out.parent} does not exist; create it, or name another folder")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{out}: its parent folder {out.parent} may not be written to; name one that may")


def export(
    entry: Entry,
    out: Path,
    *,
    logs: Mapping[int, str],
    refused: Sequence[str],
    reproduced: str,
    on: date,
    with_models: bool = False,
) -> Exported:
    """Write the new folder `out` whole or not at all, the models beside it, and OUT.map.json for `pgolf explain`.

    logs: seed -> the program's whole output. refused: the rules that it breaks, for a submission that is no record.
    reproduced: what the clean room found, in a sentence. on: its date. with_models: in the folder itself.
    Raises ConfigError as `refuse_taken`, and for files that contradict each other once they are written.
    """
    refuse_taken(out)
    with unfinished(out) as temporary:
        folder = temporary / out.name
        models = _models_beside(folder)
        folder.mkdir()
        models.mkdir()
        (folder / SCRIPT).write_bytes(entry.script.script)
        said = submission_json(entry, is_record=not refused, on=on)
        (folder / JSON).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        (folder / README).write_text(readme_text(entry, refused=refused, reproduced=reproduced), encoding="utf-8")
        (folder / REQUIREMENTS).write_text(requirements_text(program_of(entry.script.script)), encoding="utf-8")
        for one in entry.seeds:
            (folder / log_name(one.seed)).write_text(logs[one.seed], encoding="utf-8")
            shutil.copyfile(one.model, (folder if with_models else models) / model_name(one.seed))
        findings = check_folder(read_folder(folder))
        if wrong := [one.said for one in findings if one.passed is False and one.name in _AGREE]:
            raise ConfigError("the folder does not agree with itself, and is not written:", *wrong)
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        write_map(entry.script, _map_beside(folder))
        # The folder last: where it is, all is.
        beside = {_map_beside(folder): _map_beside(out), **({} if with_models else {models: _models_beside(out)})}
        with ExitStack() as undo:
            for made, to in (*beside.items(), (folder, out)):
                os.rename(made, to)
                undo.callback(os.rename, to, made)
            undo.pop_all()
    return Exported(folder=out, models=out if with_models else _models_beside(out), files=files)


def _map_beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.map.json")


def _models_beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.models")
