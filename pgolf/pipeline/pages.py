"""What a finished run gets to look at beside its rows: pictures, and the page that tells it."""

import time
from dataclasses import dataclass
from pathlib import Path

from pgolf.pipeline.drawers import Drawers
from pgolf.pipeline.outcome import Outcome
from pgolf.pipeline.run_report import REPORTS, write_report
from pgolf.report.folder import draw_run
from pgolf.store.artifact import Store


@dataclass(frozen=True, slots=True)
class Pages:
    """figures: folder of the pictures; report: the run's page. None where there is none. wall_s: to make them."""

    figures: Path | None
    report: Path | None
    wall_s: float

    def data(self) -> dict[str, str | None]:
        """The same as plain data."""
        return {name: None if path is None else str(path) for name, path in self._named().items()}

    def lines(self) -> list[str]:
        """What a person is told of them."""
        return [f"{name}: {path}" for name, path in self._named().items() if path is not None]

    def _named(self) -> dict[str, Path | None]:
        return {"figures": self.figures, "report": self.report}


def make_pages(outcome: Outcome, results: Path, store: Store | None, drawers: Drawers | None = None) -> Pages:
    """Make what is not there yet, after the rows are filed and shown: it takes longer than an evaluation-only rerun.

    store: where the run's outputs lie. drawers: who draw side by side. Raises ResultsError where `results` cannot be
    written to.
    """
    began_s = time.perf_counter()
    figures = draw_run(results, outcome.scores, draw_all=None if drawers is None else drawers.draw)
    report = results / REPORTS / f"{outcome.run_key}.html"
    if outcome.built or not report.is_file():
        report = write_report([outcome.run_key], results, store)
    return Pages(figures, report, time.perf_counter() - began_s)
