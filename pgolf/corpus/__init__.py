"""Documents, tokenizers and token shards."""
