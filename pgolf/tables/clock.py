"""The challenge's clocks: training and calibration have one together, and the evaluation another."""

CLOCK_LIMIT_S = 600.0
