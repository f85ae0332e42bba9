"""The network: a GPT with the options of the published systems, its initialization and its checkpoints.

In:  a `ModelConfig`, token ids.
Out: logits; checkpoints as safetensors. Parameter and FLOP counts by arithmetic alone.
"""
