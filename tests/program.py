"""`python -m tests.program TEXT ARGUMENTS…`: what `python -c TEXT ARGUMENTS…` does, but as a fork of the template.

For texts that only have to be a process of their own. What looks at its own imports is started by `python -c`.
"""

import sys

if __name__ == "__main__":
    text = sys.argv[1]
    sys.argv[:] = ["-c", *sys.argv[2:]]
    exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})
