"""Python programs of the tests start as forks of a process that has imported torch already.

A test suite of real processes spends most of its time in `import torch`: torchrun, every rank, every command. Here
`python -m PROGRAM` is started by a fork instead of an exec, and all else stays as it is: a process of its own with its
own pid, parent, session, environment, descriptors, command line and exit code, which kill -9 and PR_SET_PDEATHSIG treat
like any other.

- `starting.py` takes the place of the exec in `subprocess.Popen`, in the tests and in every process forked there.
- `process.py` is the template, one per pytest process: it imports, waits, and forks on request.
- `child.py` turns a fork into the program that was asked for.

What is started otherwise is started as ever: `python -c`, scripts, servers, other folders' code, and all that a test
marked `exec` starts.
"""
