"""Is one run better than another? Arms, the tests between them, and the answer in words and pictures.

In:  rows of the result tables, seed by seed; losses by document where the outputs are still there.
Out: a sentence, tables, and a figure of characters. Needs no torch.
"""
