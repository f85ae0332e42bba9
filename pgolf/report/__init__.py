"""Figures of a run, drawn from the result tables alone.

In:  rows of `pgolf.tables`.
Out: SVG and PNG files under `results/figures/`; equal rows give equal bytes.
"""
