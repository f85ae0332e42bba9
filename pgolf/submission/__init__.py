"""What a contestant submits: the self-contained script and the folder around it.

In:  a recipe and, for an export, a finished seed of it.
Out: `train_gpt.py`, whose bytes count against the budget, and the packed model beside it.
"""
