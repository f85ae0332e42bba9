"""The limits of a submission: the bytes of code plus packed model, and the clock."""

# Decimal, as in the rules: bytes on disk of the bundled script (`pgolf.bundle.bundle`) plus the packed model.
BUDGET_BYTES = 16_000_000

# Training and calibration together, and the evaluation.
CLOCK_LIMIT_S = 600.0
