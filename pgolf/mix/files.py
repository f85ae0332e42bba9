"""Names of what a mix reads and writes, for whoever looks at its files without mixing."""

TRACE_FILE = "trace.arrow"
CELLS_FILE = "cells.parquet"
COUNTS_ROLE = "counts."
HINTS_ROLE = "hints"
