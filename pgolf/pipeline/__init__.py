"""The stages of a recipe as a graph: planning, building and reporting them. Runs without Prefect.

In:  a recipe and where its sources lie.
Out: a plan (cache hit or run, and why), built artifacts, rows of the result tables, checks of the machine.
"""
