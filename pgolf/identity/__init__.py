"""Cache keys of stages: canonical configs, digests of the code a stage imports, and the key made of them.

In:  a stage's config, the digests of its inputs, the source files of its import closure.
Out: the stage key, a SHA-256 that changes exactly when something that determines the output's bytes does.
"""
