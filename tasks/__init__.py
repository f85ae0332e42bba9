"""Thin Prefect tasks, one per stage: ask the store for the stage's key, build on a miss.

In:  a node of the graph and references to its inputs (small JSON, never tensors).
Out: a reference to the artifact in the store.
"""
