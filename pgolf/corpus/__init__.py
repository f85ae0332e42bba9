"""Documents to tokens: reading documents, tokenizers, token shards in the challenge's format.

In:  JSONL, Parquet or text files, or the published shards.
Out: a data folder with shards, a tokenizer, a manifest, and how many bytes each token stands for.
"""
