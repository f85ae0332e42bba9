"""The self-contained script: a recipe and the code that it uses, in as few bytes as they can be.

In:  a recipe, and the code that runs.
Out: `train_gpt.py`, whose bytes count against the budget, and a map of its lines that stays at home.
"""
