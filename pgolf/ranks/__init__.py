"""A stage as several processes (ranks) under torchrun.

In:  a stage's job as a JSON file.
Out: result files from rank 0; the failing rank's last lines as an error.
"""
