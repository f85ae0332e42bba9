"""The remaining time at the pace so far."""


def left_s(took_s: float, done: float, still: float) -> float | None:
    """Seconds for `still` more units where `done` of them took `took_s`; None where there is no pace yet."""
    return max(0.0, took_s * still / done) if took_s > 0 and done > 0 else None
