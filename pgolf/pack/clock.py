"""Wall-clock seconds by phase."""

import time


class Clock:
    """Splits the time since it was made into phases; each lap ends one."""

    def __init__(self) -> None:
        self.phases_s: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, phase: str) -> None:
        """End a phase and begin the next."""
        now = time.perf_counter()
        self.phases_s[phase] = self.phases_s.get(phase, 0.0) + now - self._since
        self._since = now
