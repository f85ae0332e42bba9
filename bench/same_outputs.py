"""Compare the outputs of two stores regardless of their keys, to prove that a refactor changes no byte.

    pgolf run demo --store before            # with the code as it was
    pgolf run demo --store after             # with the code as it is
    python -m bench.same_outputs before after

Outputs are compared by node and output name (`train[42] checkpoint`). Facts about the run itself (seconds, logs,
packing attempts with the code size) are not outputs. Exit code 1 if a digest differs or a node is missing on one side.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

Output = tuple[str, str, str]


def outputs_of(store: Path) -> Counter[Output]:
    """Count (node, output, sha256) over all records of a store: nodes of several recipes may share a name."""
    found: Counter[Output] = Counter()
    for path in sorted(store.glob("*/record.json")):
        record = json.loads(path.read_text())
        found.update((record["node"], output, digest) for output, digest in record["outputs"].items())
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the differences; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.same_outputs", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("before", type=Path, help="folder of the first store")
    parser.add_argument("after", type=Path, help="folder of the second store")
    options = parser.parse_args(argv)
    before, after = outputs_of(options.before), outputs_of(options.after)
    gone, new = before - after, after - before
    for label, outputs in (("only before", gone), ("only after", new)):
        for node, output, digest in sorted(outputs.elements()):
            print(f"{label}: {node} {output} {digest[:12]}")
    same = (before & after).total()
    print(f"{same} outputs are the same, {gone.total()} only before, {new.total()} only after")
    return int(bool(gone or new) or not same)


if __name__ == "__main__":
    sys.exit(main())
