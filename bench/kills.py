"""Runs of a small recipe that are killed at random moments (SIGKILL), and what each leaves behind.

Killed is the run itself, it with all processes below it, or one of these alone. After every kill: no output in the
store is damaged, the tables and indexes are read, no process of the run is left; a run that lost one of its processes
ends with an error of ours. Every few kills the run is left to end: with the bytes of an undisturbed one, and with
nothing unfinished in the store. The exit code is 1 if anything else was found.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.start import PGOLF
from pgolf.errors import PgolfError
from pgolf.store.artifact import Damaged, Store
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORES
from tests.processes import descendants, is_running
from tests.tiny import outputs, tiny_arguments, write_documents

WHOM = ("the run", "all of it", "one process")
KILLS_OF_ONE = 4  # before a run is left to end
LATEST = 0.6  # of the seconds of an undisturbed run, since the one that is killed may be faster
TOO_LATE = "nothing, it had ended"
GONE_WITHIN_S = 60.0


@dataclass
class Trial:
    """One folder with the documents, a store and tables. prefect: run with Prefect, in a home of its own."""

    folder: Path
    prefect: bool

    def start(self) -> subprocess.Popen[str]:
        """The run in a session of its own; what it says goes to a file."""
        kept = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = kept | {"TMPDIR": str(temporary), "PREFECT_HOME": str(self.folder / "prefect")}
        places = [*tiny_arguments(self.folder), "--seeds", "1"]
        command = [*PGOLF, "run", *places, *([] if self.prefect else ["--no-prefect"])]
        with (self.folder / "said").open("w") as said:
            return subprocess.Popen(
                command, stdout=said, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
            )

    def scores(self) -> list[dict[str, object]]:
        """What the tables say of the scores."""
        names = ["recipe", "seed", "cell", "loss_nats", "bpb"]
        rows: list[dict[str, object]] = read(self.folder / "results", SCORES, columns=names).to_pylist()
        return sorted(rows, key=str)

    def faults(self, below: set[int]) -> list[str]:
        """What is wrong after a kill. below: the processes that there were."""
        found = []
        deadline_s = time.monotonic() + GONE_WITHIN_S
        while left := [pid for pid in below if is_running(pid)]:
            if time.monotonic() > deadline_s:
                found.append(f"processes {left} are left")
                break
            time.sleep(0.05)
        try:
            store = Store(self.folder / "store")
            found += [str(look) for path in store.artifacts() if isinstance(look := store.inspect(path), Damaged)]
            list(store.records())
            self.scores()
        except PgolfError as error:
            found.append(str(error))
        return found

    def unfinished(self) -> list[str]:
        """What a run that has ended well left in the store besides outputs."""
        store = self.folder / "store"
        return [str(path) for pattern in (".tmp-*", "partial/*", "quarantine/*") for path in store.glob(pattern)]


def killed(trial: Trial, draw: random.Random, longest_s: float) -> tuple[str, list[str]]:
    """Start a run and kill it at a random moment; returns what was killed, and what is wrong."""
    run = trial.start()
    time.sleep(draw.uniform(0, longest_s))
    below = descendants(run.pid)
    whom = draw.choice(WHOM) if below else "the run"
    if run.poll() is not None:
        return TOO_LATE, [] if run.returncode == 0 else [f"it ended with {run.returncode}"]
    if whom == "one process":
        with_luck = draw.choice(sorted(below))
        try:
            os.kill(with_luck, signal.SIGKILL)
        except ProcessLookupError:
            whom = "nothing, the process had ended"
        run.wait()
        said = (trial.folder / "said").read_text()
        wrong = ["it ended with a stack trace"] if "Traceback" in said else []
        return whom, wrong + trial.faults(below)
    if whom == "all of it":
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    run.kill()
    run.wait()
    return whom, trial.faults(below)


def completed(trial: Trial) -> list[str]:
    """Leave a run to its end; returns what is wrong with that."""
    code = trial.start().wait()
    said = (trial.folder / "said").read_text()
    wrong = [] if code == 0 else [f"the rerun ended with {code}: {said[-2000:]}"]
    return wrong + [f"left behind: {path}" for path in trial.unfinished()]


def main() -> int:
    """Kill, check and count; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="default 100")
    parser.add_argument("--prefect", action="store_true", help="run with Prefect and a server of its own")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    counts: Counter[str] = Counter()
    faults: list[str] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:

        def trial() -> Trial:
            folder = Path(tempfile.mkdtemp(dir=made))
            write_documents(folder)
            return Trial(folder, options.prefect)

        whole = trial()
        began_s = time.monotonic()
        faults += completed(whole)
        longest_s = time.monotonic() - began_s
        expected = outputs(whole.folder), whole.scores()
        print(f"an undisturbed run: {longest_s:.1f} s", flush=True)
        number = 0
        while number < options.kills and not (number == 0 and faults):
            one = trial()
            for _ in range(min(KILLS_OF_ONE, options.kills - number)):
                whom, wrong = killed(one, draw, longest_s * LATEST)
                counts[whom] += 1
                faults += [f"kill {number} of {whom}: {text}" for text in wrong]
                if whom == TOO_LATE:
                    break
                number += 1
            wrong = completed(one)
            if (outputs(one.folder), one.scores()) != expected:
                wrong.append("the rerun's bytes or scores are others")
            faults += [f"after kill {number - 1}: {text}" for text in wrong]
            print(f"{number} kills, {len(faults)} faults: {dict(counts)}", *faults[-1:], file=sys.stderr, flush=True)
    print(json.dumps({"kills": dict(counts), "faults": faults}, indent=1))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
