"""Statistics over seeds: mean, standard deviation, Welch's test. Needs no torch.

In:  one number per seed.
Out: n, mean, sample standard deviation, p-values.
"""
