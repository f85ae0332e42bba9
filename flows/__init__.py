"""Prefect flows, and what starts, ends and settles them; the command line is `flows.commands`.

In:  a recipe with its overrides, from the command line or a Prefect deployment.
Out: finished stages in the store, result tables, exit codes. No numerics here.
"""
