"""The section that tells what a run was made of, and how to make it again."""

import json
import re
import shlex
from typing import Any

from pgolf.report.markup import Markup, tag
from pgolf.report.page_parts import fold, table
from pgolf.report.run_tables import RunTables


def provenance_section(run: RunTables) -> tuple[Markup, ...]:
    """Its content."""
    text = run.text
    facts = {
        "run": run.run.key,
        "recipe": f"{run.run.recipe}{f', from {run.run.base}' if run.run.base not in (None, run.run.recipe) else ''}",
        "recipe key": run.run.recipe_key,
        "commit": run.facts_said("git_commit"),
        "torch": run.facts_said("torch_version"),
        "device": run.facts.device,
        "machine": run.facts_said("host"),
        "dates": run.facts.dates,
        "rule set": run.facts_said("ruleset"),
        "text": None if text is None else str(text),
    }
    rows: list[list[object]] = [[name, value or "not recorded"] for name, value in facts.items()]
    rows += [[f"weights of seed {seed}", row["checkpoint_sha256"] or "not recorded"]
             for seed, row in run.by_seed.items()]  # fmt: skip
    content = [table(["", ""], rows, label="provenance"), tag("pre", "\n".join(_commands(run)))]
    if run.run.config:
        settings = json.dumps(dict(run.run.config), indent=1, sort_keys=True)
        content.append(fold("every setting", tag("pre", settings)))
    return tuple(content)


def _commands(run: RunTables) -> list[str]:
    commits = [commit for commit in run.facts_said("git_commit").split(", ") if commit]
    lines = [f"git checkout {commit.rstrip('+')}" for commit in commits[:1]]
    if not commits:
        lines.append("# the commit of its code was not recorded")
    elif any(commit.endswith("+") for commit in commits):
        lines[0] += "   # with changes that were not committed"
    if run.run.base:
        lines += _run_commands(run)
    elif run.run.config:
        lines.append("# its recipe is a file of somebody's own; all its settings stand below")
    else:
        lines.append("# an earlier version filed it, which kept no settings beside the tables")
    lines.append(f"pgolf report {shlex.quote(run.run.key)}")
    return lines


def _run_commands(run: RunTables) -> list[str]:
    """They file the run under its own key: a recipe of somebody's own needs a file of its name for that."""
    sets = "".join(f" --set {shlex.quote(f'{path}={_value(value)}')}" for path, value in run.run.changed.items())
    files = _files(run)
    given = "".join(f" {option} {name}" for option, name in files)
    seeds = f"--seeds {' '.join(map(str, run.seeds))}{given}"
    # Tables keep no paths, which are of one machine; of the text they keep the digest.
    names = ", ".join(name.rpartition("=")[2] for _, name in files)
    where = [f"# {names}: what was given to it, as the text's digest tells"] if files else []
    base, recipe = shlex.quote(run.run.base or ""), run.run.recipe
    if recipe == run.run.base:
        return [*where, f"pgolf run {base}{sets} {seeds}"]
    file = shlex.quote(f"{recipe}.toml")
    # A file's name has no two dashes side by side, and none at the end.
    named = [f'# put in {file} as its first line: name = "{recipe}"'] if re.search("--|-$", recipe) else []
    return [f"pgolf new {file} --from {base}{sets}", *named, *where, f"pgolf run {file} {seeds}"]


def _files(run: RunTables) -> list[tuple[str, str]]:
    """Each option by which the run was given files of somebody's own, and a name for those files."""
    stages = {row["stage"] for row in run.stages}
    tokenize = run.run.config.get("tokenize") or {}
    asked = {
        "--data": "shards" in stages,
        "--documents": "shards" not in stages and tokenize.get("source") == "documents",
        "--tokenizer": "shards" not in stages and tokenize.get("tokenizer") == "given",
    }
    files = [(option, option.removeprefix("--").upper()) for option, is_asked in asked.items() if is_asked]
    weights = [("--checkpoint", f"{seed}=CHECKPOINT-{seed}") for seed in run.seeds] if "import" in stages else []
    return [*files, *weights]


def _value(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def setting_text(run: RunTables, path: str) -> str:
    """The value of a setting by its dotted name; a dash where the run has none."""
    try:
        return _value(run.run.setting(path))
    except KeyError:
        return "–"
