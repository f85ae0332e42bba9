"""The network: a GPT with the options of the published systems, its initialization and its checkpoints.

In:  a `ModelConfig`, token ids.
Out: logits; checkpoints as safetensors; parameter and FLOP counts from the config alone.
"""
