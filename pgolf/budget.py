"""The byte budget of a submission: code plus packed model."""

# Decimal, as in the rules: bytes on disk of the bundled script (`pgolf.submission.bundle`) plus the packed model.
BUDGET_BYTES = 16_000_000
