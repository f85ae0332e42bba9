"""Proves on the machine at hand what a suite without a GPU cannot: one file per check, numbers and a verdict each.

In:  the devices of this machine; random weights and tokens, no data and no store.
Out: findings: what a check proves, what was measured against which limit, what a failure means and what to do.
"""
