"""A process without threads that has drawings made by others: tests/pipeline/test_drawers.py.

python -m tests.pipeline.drawers_program FOLDER: prints as JSON what came of each attempt.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from pgolf.pipeline.drawers import Drawers
from pgolf.report.families import pictures_of, sketches_of
from pgolf.report.folder import draw_run
from pgolf.report.run_facts import facts_of
from pgolf.tables.ranked import scorer_results
from tests.processes import descendants
from tests.report.conftest import grid_rows, table_of


def main(folder: Path) -> None:
    """Side by side, into no folder, by processes that were killed, and with threads about."""
    told: dict[str, object] = {}
    with Drawers.forked() as drawers:  # type: ignore[union-attr]
        scores = table_of(grid_rows(seeds=(1,), alphas=(0.1, 0.2), orders=(2, 3)))
        found = scorer_results(scores)
        sketches, facts = sketches_of(pictures_of(found)), facts_of(scores, found)
        drawers.get_ready()
        draw_run(folder / "by others", scores, draw_all=drawers.draw)
        told["drew here"] = "matplotlib" in sys.modules
        try:
            drawers.draw(sketches, facts, folder / "missing")
        except OSError as error:
            told["missing"] = type(error).__name__
        below = descendants(os.getpid())
        told["forks"] = len(below)
        for pid in below:
            os.kill(pid, signal.SIGKILL)
        told["killed"] = drawers.draw(sketches, facts, folder)
        draw_run(folder / "here", scores, draw_all=drawers.draw)
    told["left"] = len(descendants(os.getpid()))
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    told["with threads"] = Drawers.forked() is not None
    waiting.set()
    thread.join()
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
