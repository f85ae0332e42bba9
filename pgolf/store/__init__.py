"""The content-addressed artifact store: outputs with their records, verified on every open.

In:  a stage key and a function that makes the output.
Out: a folder `<stage>-<12 hex>` with payload and `record.json`, built once and published atomically.
"""
