"""The byte budget."""

# Decimal, as in the rules: the bundled script (`pgolf.bundle`) plus the packed model, both counted in bytes on disk.
BUDGET_BYTES = 16_000_000
