"""The training stage in a process of its own, to be killed by tests/train/test_resume.py; it says all it is told."""

import sys
from pathlib import Path

from pgolf.errors import PgolfError
from pgolf.run_options import Progress, RunOptions
from pgolf.train.train_stage import make
from tests.train.runs import with_train

STEPS = 30
COMMON = {"steps": STEPS, "warmdown_steps": 25, "priming_steps": 1, "spans_per_step": 2}
LATE = {"late_qat_below_scale": 0.6, "late_qat_bits": 5, "crownq_weight": 1.0, "crownq_below_scale": 0.6}
SWA = {"average": "swa_of_ema", "swa_below_scale": 0.5, "swa_every_steps": 3}
CONFIGS = {
    "matrices": with_train(**COMMON),
    "banks, shuffled rows": with_train(
        batches="rows",
        data_ranks=2,
        muon_layout="banks",
        projections_by="adam",
        clip_at="rank",
        **COMMON,
        **LATE,
        **SWA,
    ),
}


def main(name: str, processes: str, folder: Path, every_s: str) -> int:
    """`folder` holds data/ and scratch/; the output goes to a new out/. every_s: seconds between two checkpoints."""
    out = folder / "out"
    out.mkdir(exist_ok=True)

    def report(progress: Progress) -> None:
        if progress.note:
            print(f"note: {progress.note}", flush=True)

    options = RunOptions(
        device="cpu",
        threads=1,
        processes=int(processes),
        log_every_steps=1,
        scratch=folder / "scratch",
        checkpoint_every_s=float(every_s),
        log_line=lambda line: print(line, flush=True),
        report=report,
    )
    try:
        make(CONFIGS[name], {"data": folder / "data"}, out, options, seed=7)
    except PgolfError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]))
