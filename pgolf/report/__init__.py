"""Figures, drawn from the result tables alone.

In:  rows of `pgolf.tables`.
Out: SVG files under `results/figures/`. The same rows give the same bytes.
"""
