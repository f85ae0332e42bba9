"""What names an output: canonical configs, the code a stage can reach, and the key made of both.

In:  a stage's config, the digests of its inputs, the source files of its import closure.
Out: the stage key, a sha256 that changes exactly when something that decides the bytes does.
"""
