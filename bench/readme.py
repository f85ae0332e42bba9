"""`make readme`: run the demo twice in an empty folder and insert its output between README.md's markers."""

import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pgolf.machine.hardware import cpu_name

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- demo:begin (make readme) -->", "<!-- demo:end -->"


def main() -> int:
    """Run the demo, shorten its output to fit a first screen, and write it."""
    with tempfile.TemporaryDirectory(prefix="pgolf-readme-") as folder:
        first, second = (run_demo(Path(folder)) for _ in range(2))
    cores, today = len(os.sched_getaffinity(0)), datetime.now(UTC).date()
    block = (
        f"```\n$ make demo\n{shortened(first)}\n$ make demo                                  # the second time\n"
        f"{second[second.index('ran: nothing') :].strip()}\n```\n"
        f"{cpu_name()}, {cores} cores, {today}; one run of 3 seeds.\n"
    )
    text = README.read_text()
    start, stop = text.index(BEGIN) + len(BEGIN), text.index(END)
    README.write_text(f"{text[:start]}\n{block}{text[stop:]}")
    return 0


def run_demo(folder: Path) -> str:
    """Output of `pgolf run demo`, stderr (stages) and stdout (tables) interleaved as on a terminal."""
    command = [
        sys.executable,
        "-m",
        "flows.commands.cli",
        "run",
        "demo",
        "--store",
        "artifacts",
        "--results",
        "results",
    ]
    environment = {**os.environ, "PREFECT_HOME": str(folder / "prefect"), "PYTHONUNBUFFERED": "1"}
    run = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    return run.stdout.replace(f"{folder}/", "")


def shortened(text: str) -> str:
    """Keep the stages of the seed that is tried, the tables, and the last line."""
    [tried] = re.findall(r"✓ audit\[(\d+)\]", text)
    others = [seed for seed in re.findall(r"✓ train\[(\d+)\]", text) if seed != tried]
    stages = dict.fromkeys(line for line in text.splitlines() if line.startswith("✓"))
    kept = [line for line in stages if not any(f"[{seed}]" in line.split("  ")[0] for seed in others)]
    kept.insert(-1, "  … and the other seeds")  # the trial is the last of all stages
    tables = text[text.index("validation bits per byte by seed") :]
    tables = "\n".join(line for line in tables.splitlines() if not line.startswith(("reused:", "ran:")))
    return "\n".join(kept) + "\n\n" + tables.strip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
