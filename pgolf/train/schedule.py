"""Learning-rate, momentum and recurrence schedules: pure functions of the step and, for timed runs, of elapsed seconds.

Source: PR #715 (linear warm-down measured in steps' worth of time; no rate warm-up), #1493 (by share of the clock).
"""

from pgolf.train.config import TrainConfig


def rate_scale(config: TrainConfig, step: int, elapsed_s: float) -> float:
    """The factor on every base rate before 0-based `step`, in [0, 1]."""
    if config.warmdown_share is not None:
        scale = min(max(1 - share_done(config, step, elapsed_s), 0.0) / config.warmdown_share, 1.0)
    elif config.clock_end_s is None:
        scale = rate_scale_by_steps(step, steps=config.steps, warmdown_steps=config.warmdown_steps)
    else:
        scale = rate_scale_by_clock(step, elapsed_s, limit_s=config.clock_end_s, warmdown_steps=config.warmdown_steps)
    return max(scale, config.rate_floor) if config.rate_floor else scale


def share_done(config: TrainConfig, step: int, elapsed_s: float) -> float:
    """The share of the clock or, without one, of the steps that has passed before 0-based `step`."""
    return step / config.steps if config.clock_end_s is None else elapsed_s / config.clock_end_s


def repeats_layers(config: TrainConfig, step: int, elapsed_s: float) -> bool:
    """Whether recurrent layers run again in 0-based `step`. Once on it stays on: neither steps nor seconds go back.

    elapsed_s: as measured, not as expected, so that a resumed training finds it as it was.
    """
    return config.recurrence_from is None or share_done(config, step, elapsed_s) >= config.recurrence_from


def rate_scale_by_steps(step: int, *, steps: int, warmdown_steps: int) -> float:
    """1 until `warmdown_steps` before the end, then linear to 0."""
    left = steps - step
    return 1.0 if left > warmdown_steps else max(left, 0) / max(warmdown_steps, 1)


def rate_scale_by_clock(step: int, elapsed_s: float, *, limit_s: float, warmdown_steps: int) -> float:
    """1 until the time left equals what `warmdown_steps` take at the mean pace so far, then their ratio."""
    warmdown_s = warmdown_steps * elapsed_s / max(step, 1)
    left_s = max(limit_s - elapsed_s, 0.0)
    return left_s / max(warmdown_s, 1e-12) if left_s <= warmdown_s else 1.0


def muon_momentum(config: TrainConfig, step: int) -> float:
    """Muon's momentum in 0-based `step`: linear from its start to its final value, then constant."""
    done = min(step / config.muon_momentum_warmup_steps, 1.0) if config.muon_momentum_warmup_steps else 1.0
    return (1 - done) * config.muon_momentum_start + done * config.muon_momentum
