"""Run a stage as several processes (ranks) under torchrun.

In:  a stage's job, as a JSON file.
Out: result files; on failure, the failing rank's error or last lines.
"""
