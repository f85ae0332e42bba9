"""The verdict: whether a scorer's numbers are a code length, found by its behaviour alone.

In:  a scorer as a black box, a text in tokens, what its author declares and reports.
Out: one verdict per check, each with evidence; the scorer's code is never read.
"""
