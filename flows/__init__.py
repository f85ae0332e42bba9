"""Prefect flows, their worker, shutdown and crash handling; the command line is `flows.commands`.

In:  a recipe with its overrides, from the command line or a Prefect deployment.
Out: finished stages in the store, result tables, exit codes. No numerics here.
"""

import pgolf as pgolf  # from here on, all modules of ours come from one snapshot of the code
