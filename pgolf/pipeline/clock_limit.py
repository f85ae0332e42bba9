"""The challenge's clock: what can be known of a training before it has run.

Imports neither torch nor Prefect.
"""

from pgolf.budget import CLOCK_LIMIT_S
from pgolf.train.config import TrainConfig


def over_the_clock(config: TrainConfig) -> str:
    """Why a training cannot stay within the limit, and what to set; empty where it can."""
    if config.clock_end_s is None or config.clock_end_s < CLOCK_LIMIT_S:
        return ""
    if config.clock_reserve_s == 0:
        ends = f"it ends with the step that reaches train.clock_limit_s={config.clock_limit_s:g}"
    elif config.clock_end_s == CLOCK_LIMIT_S:
        return ""  # its last step ends before: without calibration it is within the limit
    else:
        ends = f"it ends shortly before {config.clock_end_s:g} s (clock_limit_s less clock_reserve_s)"
    return (
        f"training cannot be within {CLOCK_LIMIT_S:g} s, unless its {config.steps:,} steps end sooner: {ends}. "
        "Set train.clock_reserve_s to the seconds that calibration takes, or to 1 without"
        + (f", and train.clock_limit_s={CLOCK_LIMIT_S:g}" if config.clock_limit_s != CLOCK_LIMIT_S else "")
    )
