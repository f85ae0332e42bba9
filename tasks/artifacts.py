"""What Prefect's pages show of a run: how far it is, a table of its scores, its pictures."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext

from pgolf.audit.verdict import Verdict
from pgolf.pipeline.graph import Node
from pgolf.pipeline.listen import Silence
from pgolf.pipeline.outcome import Outcome
from pgolf.pipeline.overview import overview_of
from pgolf.pipeline.pages import Pages
from pgolf.pipeline.program_trial import ProgramTrial
from pgolf.pipeline.tried_run import TriedRun
from pgolf.report.small_picture import data_url
from pgolf.store.artifact import Artifact

UPDATE_EVERY_S = 1.0
# Of pictures in a page of Prefect's; the database keeps every run's.
_MOST_BYTES = 2_000_000


def key_of_run(name: str) -> str:
    """A key of an artifact that this flow run alone writes: train-1337-0c5d1f5e."""
    context = FlowRunContext.get()
    run = "" if context is None or context.flow_run is None else f"-{str(context.flow_run.id)[:8]}"
    return f"{name}{run}"


class ProgressArtifact:
    """A bar on the page of a run; updated at most once a second, and at the end."""

    def __init__(self, key: str, description: str) -> None:
        created = create_progress_artifact(progress=0.0, key=key_of_run(key), description=description)
        self._id = created if isinstance(created, UUID) else None
        self._updated_s = 0.0

    def update(self, done: int, total: int, description: str) -> None:
        """So much is done."""
        now_s = time.monotonic()
        if self._id is not None and (now_s - self._updated_s >= UPDATE_EVERY_S or done == total):
            self._updated_s = now_s
            update_progress_artifact(self._id, progress=100.0 * done / max(total, 1), description=description)


class StagesDone(Silence):
    """Keeps the progress of a flow run as the number of its stages that are there."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._total = len(nodes)
        self._done: set[str] = set()
        self._lock = threading.Lock()
        self._bar = ProgressArtifact("run", f"0 of {self._total} stages")

    def done(self, node: Node, _artifact: Artifact, *, built: bool) -> None:
        """One more."""
        with self._lock:
            self._done.add(node.name)
            said = f"{len(self._done)} of {self._total} stages, last {node.name} ({'built' if built else 'reused'})"
            self._bar.update(len(self._done), self._total, said)


def show_scores(outcome: Outcome) -> None:
    """What was declared and what was found, per seed and over them, as a table artifact."""
    overview = overview_of(outcome)
    head = f"**{outcome.run.name}** ({outcome.run_key})"
    create_table_artifact(
        key=f"pgolf-{outcome.recipe.name}",
        table=[dict(row) for row in overview.rows],
        description="\n\n".join((head, *overview.sentences)),
    )


def show_pages(outcome: Outcome, pages: Pages) -> None:
    """The same table with the pictures and where the report lies, as a markdown artifact."""
    report = "no report" if pages.report is None else f"report: [{pages.report}]({pages.report.absolute().as_uri()})"
    parts = [f"# {outcome.run.name}", f"run `{outcome.run_key}`, {report}", overview_of(outcome).markdown()]
    pictures = [] if pages.figures is None else sorted(pages.figures.glob("*.png"))
    parts.append(f"## Figures\n\nin `{pages.figures}`" if pictures else "No figures: no setting of this grid varies.")
    size_bytes = 0
    for path in pictures:
        url = data_url(path)
        size_bytes += len(url)
        parts.append(f"![{path.stem}]({url})" if size_bytes <= _MOST_BYTES else f"- {path.name}")
    create_markdown_artifact("\n\n".join(parts), key=f"pgolf-{outcome.recipe.name}-figures")


def show_verdicts(found: TriedRun, page: Path) -> None:
    """What became of every scorer as a table artifact, and every verdict as a markdown artifact."""
    rows = [{"scorer": one.name, "score": one.said, **_outcomes(one.outcome, one.verdicts)} for one in found.scorers]
    counts = Counter(one.outcome for one in found.scorers)
    said = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    head = f"**{found.run}**, seed {found.seed}: {said} by {found.rules.label}; {found.text}"
    sections = {f"{one.name}: {one.outcome}": one.verdicts for one in found.scorers}
    _show_trial(found.id, f"{found.run}: {found.outcome}", head, rows, sections, page)


def show_program_verdicts(found: ProgramTrial, page: Path) -> None:
    """The same of a program."""
    rows = [{"program": found.name, **_outcomes(found.outcome, found.verdicts)}]
    head = f"**{found.name}**: {found.outcome} by {found.rules.label}; {found.text}, in {found.isolation}"
    _show_trial(found.id, f"{found.name}: {found.outcome}", head, rows, {found.name: found.verdicts}, page)


def _outcomes(outcome: str, verdicts: Sequence[Verdict]) -> dict[str, str]:
    numbers = {
        word: " ".join(verdict.number for verdict in verdicts if verdict.outcome == word) or "–"
        for word in ("fail", "inconclusive")
    }
    return {"verdict": outcome, **numbers}


def _show_trial(
    id_: str,
    title: str,
    head: str,
    rows: list[dict[str, str]],
    sections: Mapping[str, Sequence[Verdict]],
    page: Path,
) -> None:
    create_table_artifact(key=f"pgolf-{id_}", table=rows, description=head)
    parts = [f"# {title}", f"{head}, page: [{page}]({page.absolute().as_uri()})"]
    for name, verdicts in sections.items():
        lines = ["| check | verdict | because |", "|---|---|---|"]
        for verdict in verdicts:
            because = " ".join(verdict.finding.because.split()).replace("|", "\\|")
            lines.append(f"| {verdict.number} {verdict.name} | {verdict.outcome} | {because} |")
        parts.append("\n".join([f"## {name}", "", *lines]))
    create_markdown_artifact("\n\n".join(parts), key=f"pgolf-{id_}-verdicts")
