"""N-gram counts of the validation stream, each target counted only after it is scored.

In:  validation tokens.
Out: per target and order, how often its context and its n-gram were seen before (exact or hashed), and hints.
"""
