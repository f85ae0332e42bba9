"""Whether a training that stops by the clock has time for another step."""

from collections import deque

from pgolf.train.config import TrainConfig

# About ten seconds of the published systems on eight GPUs: long enough to hold a hiccup that may come again, short
# enough to forget the slow first steps.
RECENT_STEPS = 100


class TimeLeft:
    """Looks at the slowest rank's clock after each step.

    Without a reserve the step that reaches the limit is the last, as in the published systems. With one, training stops
    while the steps that would run before the next look can end by limit − reserve, each as slow as the slowest of the
    last RECENT_STEPS.
    """

    def __init__(self, config: TrainConfig, *, lag: int, elapsed_s: float) -> None:
        """lag: steps launched ahead of the one looked at. elapsed_s: so far, of a resumed training."""
        self._end_s = config.clock_end_s
        self._keeps_a_reserve = config.clock_reserve_s > 0
        self._steps_before_next_look = lag + 1
        self._elapsed_s = elapsed_s
        self._steps_s: deque[float] = deque(maxlen=RECENT_STEPS)
        self._just_saved = False
        self._slowest_after_saving_s = 0.0

    def step_ended(self, elapsed_s: float) -> None:
        """Note a finished step. elapsed_s: the clock after it."""
        step_s, self._elapsed_s = elapsed_s - self._elapsed_s, elapsed_s
        if self._just_saved:  # not every step bears a checkpoint
            self._slowest_after_saving_s = max(self._slowest_after_saving_s, step_s)
            self._just_saved = False
        else:
            self._steps_s.append(step_s)

    def saved(self) -> None:
        """Note that a checkpoint was taken, whose seconds the next step bears."""
        self._just_saved = True

    def is_over(self, *, saving: bool) -> bool:
        """Whether the steps launched by now are the last. saving: a checkpoint would be taken before the next."""
        if self._end_s is None:
            return False
        if not self._keeps_a_reserve:
            return self._elapsed_s >= self._end_s
        slowest_s = max(self._steps_s, default=0.0)
        ahead_s = self._steps_before_next_look * slowest_s
        if saving:
            ahead_s += max(0.0, self._slowest_after_saving_s - slowest_s)
        return self._elapsed_s + ahead_s > self._end_s
