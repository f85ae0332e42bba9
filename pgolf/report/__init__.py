"""Figures and pages of runs, drawn from the result tables alone.

In:  rows of `pgolf.tables`.
Out: SVG and PNG files under `results/figures/`, the HTML of a page; equal rows give equal bytes.
"""
