"""Python programs of the tests start as forks of a process that has imported torch already.

A test suite of real processes spends most of its time in `import torch`: torchrun, every rank, every command. Here
`python -m PROGRAM` is started by a fork instead of an exec: a process of its own with its own pid, parent, session,
environment, descriptors, command line and exit code, which kill -9 and PR_SET_PDEATHSIG treat like any other.

A worker forks the runs of its flows from a template of its own, which has imported Prefect under the worker's settings;
where Prefect replaces a process by another program (exec), a fork runs up to there and the process becomes what that
asks for, under its pid.

What a fork cannot show: modules that read the environment when they are imported have read the template's; all forks
of one template hash strings alike; the interpreter's own end is left out. So one training, one scoring, three launches
that fail and one whole run by two workers start by exec as well (mark `exec`, or a command that is no Python program).

- `starting.py` takes the place of the exec in `subprocess.Popen`, in the tests and in every process forked there.
- `process.py` is the template, one per pytest process: it imports, waits, and forks on request. A program that starts
  others gets a copy of it at birth, since only a process without threads may fork.
- `child.py` turns a fork into the program that was asked for.

What is started otherwise is started as ever: `python -c`, scripts, other folders' code, and all that a test
marked `exec` starts.
"""
