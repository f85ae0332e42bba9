"""Recipes: one typed configuration per stage, and the seeds to run.

In:  a recipe's name, `--set` overrides, a grid as text or TOML.
Out: a frozen, validated `Recipe`. Nothing here runs a stage.
"""
