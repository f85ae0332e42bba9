"""Mixtures of the network with n-gram estimates, over whole grids of settings in one pass.

In:  a trace (loss and entropy per target), n-gram counts, hints, a grid.
Out: one row per grid point (cell): total loss, bits per byte, and the probability mass it hands out.
"""
