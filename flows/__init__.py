"""Prefect flows, their worker, shutdown and crash handling; the command line is `flows.commands`.

In:  a recipe with its overrides, from the command line or a Prefect deployment.
Out: finished stages in the store, result tables, exit codes. No numerics here.
"""

from flows.ctrl_c import end_at_once_while_starting

end_at_once_while_starting()  # before all that takes time

# From here on, all modules of ours come from one snapshot of the code.
import pgolf as pgolf  # noqa: E402
