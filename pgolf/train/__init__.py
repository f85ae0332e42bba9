"""Training under a wall clock or for a number of steps, on one or several ranks.

In:  token shards, a model config, a seed.
Out: `checkpoint.safetensors`, the training log, and the ledger of the clock.
"""
