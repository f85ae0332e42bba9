"""Documents to tokens: document readers, tokenizers, token shards in the challenge's format.

In:  JSONL, Parquet or text files, or the published shards.
Out: a data folder with shards, a tokenizer and a manifest, and the byte length of each token.
"""
