"""The command line `pgolf`: the parser (`cli.py`), one file per command, and what they share.

In:  the words a user types.
Out: data on stdout, messages and progress on stderr, an exit code. Only commands that run stages load torch or Prefect.
"""
