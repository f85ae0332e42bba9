"""Scoring: the network's loss on every validation target, by sliding windows, with optional test-time training.

In:  the packed model and the validation tokens.
Out: the trace, an Arrow file with `loss_nats` and `entropy_nats` per target.
"""
