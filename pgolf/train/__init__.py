"""Training on one or several ranks, under a wall-clock limit or for a fixed number of steps.

In:  token shards, a model config, a seed.
Out: `checkpoint.safetensors`, the loss of every step, the training log, and a ledger of time.
"""
