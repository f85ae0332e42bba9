"""Thin Prefect tasks, one per stage and one that reports: each asks the store for its key and builds on a miss.

In:  a node of the graph and references to its inputs (small JSON, never tensors).
Out: a reference to the artifact in the store.
"""

import pgolf as pgolf  # from here on, all modules of ours come from one snapshot of the code
