"""`pgolf sweep` in small units, slowed down so that it can be killed between two: tests/flows/test_sweep.py.

python -m tests.flows.sweep_program PAUSE_S ARGUMENTS: units of 64 records, sums kept after each; the tiny stream would
be one unit, and done before it could be killed.
"""

import sys
import time

from flows.commands.cli import main
from pgolf.mix import mix_inputs, mix_progress


def slow_down(pause_s: float) -> None:
    """Pause after every unit that is kept."""
    mix_inputs.UNIT_RECORDS = 64
    mix_progress.SAVE_EVERY_S = 0.0
    keep = mix_progress.MixProgress.keep

    def slowly(self: mix_progress.MixProgress, *sums: object) -> None:
        keep(self, *sums)
        time.sleep(pause_s)

    mix_progress.MixProgress.keep = slowly


if __name__ == "__main__":
    slow_down(float(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
