"""Single flipped bits in the indexes of a store and in its result tables: what the readers make of each.

A synthetic store and its tables are written once. For every flip one bit of one file is changed, the file is read as
`pgolf` reads it, and put back. right: the answer of the whole file. refused: an error of ours that names the file
(tables alone: an index is made anew). lost: a sound output called damaged. wrong: any other answer. crashed: an error
that is not ours.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa

from bench.store_scale import made_up_run, make_tables
from pgolf.errors import ResultsError
from pgolf.pipeline.graph import pipeline
from pgolf.recipes.catalog import recipe_named
from pgolf.store import content
from pgolf.store.artifact import Artifact, Store
from pgolf.store.content import Memo, sha256_file
from pgolf.tables import parquet
from pgolf.tables.file_names import GATHERED
from pgolf.tables.schema import SCORES

OUTCOMES = ("right", "refused", "lost", "wrong", "crashed")
RUNS, FILES = 2, 40
# Two files are enough to gather.
FEW_FILES = 1


@dataclass(frozen=True)
class Target:
    """A file, what reading it comes to, and from which byte on bits of it are flipped."""

    path: Path
    read: Callable[[], str]
    first_byte: Callable[[bytes], int] = lambda _content: 0


def made_up_indexes(folder: Path, runs: int = RUNS) -> dict[str, Target]:
    """Write a store with its indexes, and files from outside with theirs."""
    store = folder / "store"
    nodes = pipeline(recipe_named("demo"))
    for number in range(runs):
        for _record in made_up_run(nodes, number, store, Memo(folder / "keys.sqlite")):
            pass
    whole = Store(store)
    list(whole.records())
    for path in whole.artifacts():
        assert isinstance(whole.inspect(path), Artifact)
    whole.save_memo()
    records = list(whole.records())
    outside = [folder / f"{number}.jsonl" for number in range(FILES)]
    sources = Memo(store / ".sources.sqlite")
    for number, path in enumerate(outside):
        path.write_text(f"document {number}\n")
        sources.sha256(path)
    sources.save()
    digests = [sha256_file(path) for path in outside]

    def look_at_outputs() -> str:
        opened = Store(store)
        found = [opened.inspect(path) for path in opened.artifacts()]
        return "right" if all(isinstance(each, Artifact) for each in found) else "lost"

    def read_records() -> str:
        return "right" if list(Store(store).records()) == records else "wrong"

    def hash_sources() -> str:
        memo = Memo(store / ".sources.sqlite")
        return "right" if [memo.sha256(path) for path in outside] == digests else "wrong"

    return {
        ".memo.sqlite": Target(store / ".memo.sqlite", look_at_outputs),
        ".records.sqlite": Target(store / ".records.sqlite", read_records),
        ".sources.sqlite": Target(store / ".sources.sqlite", hash_sources),
    }


def made_up_tables(folder: Path) -> dict[str, Target]:
    """Write the scores of one run, and those of some with what is gathered of them."""
    for results in ("results", "many"):
        make_tables(folder / results, 1)
    table = parquet.read(folder / "many", SCORES)
    place = table.schema.get_field_index("run_key")
    field = table.schema.field("run_key")
    for number in range(1, 2 + FEW_FILES):
        keys = pa.array([f"run-{number}"] * table.num_rows)
        parquet.append_table(folder / "many", SCORES, f"run-{number}", table.set_column(place, field, keys))
    rows, many = parquet.read(folder / "results", SCORES), parquet.read(folder / "many", SCORES)
    one = next((folder / "results" / SCORES.name).glob("*.parquet"))

    def read_table() -> str:
        return "right" if parquet.read(folder / "results", SCORES).equals(rows) else "wrong"

    def read_gathered() -> str:
        return "right" if parquet.read(folder / "many", SCORES).equals(many) else "wrong"

    return {
        "table": Target(one, read_table),
        "table's footer": Target(one, read_table, _footer_begins),
        "gathered": Target(folder / "many" / GATHERED / SCORES.name, read_gathered),
    }


def _footer_begins(content: bytes) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def flipped(target: Target, count: int, seed: int) -> Iterator[tuple[int, str]]:
    """(bit, outcome) of each flip; the file is as it was after each."""
    whole = target.path.read_bytes()
    draw = random.Random(seed)
    first = 8 * target.first_byte(whole)
    for _ in range(count):
        bit = draw.randrange(first, 8 * len(whole))
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        target.path.write_bytes(changed)
        try:
            yield bit, target.read()
        except ResultsError as error:
            yield bit, "refused" if str(target.path) in str(error) else "wrong"
        except Exception as error:
            yield bit, f"crashed: {type(error).__name__}: {error}"
        finally:
            target.path.write_bytes(whole)


def gathering() -> AbstractContextManager[object]:
    """A handful of table files is gathered in one."""
    return patch.object(parquet, "FEW_FILES", FEW_FILES)


def settled() -> AbstractContextManager[object]:
    """A minute has passed since the last change of every file, so that digests are remembered."""
    now_ns = time.time_ns
    return patch.object(content.time, "time_ns", lambda: now_ns() + content.SETTLED_NS + 10**9)


def main() -> None:
    """Count the outcomes and print one line per file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=4500, help="per file (default 4500)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these files alone")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, settled(), gathering():
        targets = made_up_indexes(Path(made)) | made_up_tables(Path(made))
        print(f"{'file':<18}{'flips':>7}" + "".join(f"{outcome:>9}" for outcome in OUTCOMES), flush=True)
        for name, target in targets.items():
            if options.only and name not in options.only:
                continue
            found = [outcome for _bit, outcome in flipped(target, options.flips, options.seed)]
            counts = Counter(outcome.partition(":")[0] for outcome in found)
            print(f"{name:<18}{len(found):>7}" + "".join(f"{counts[outcome]:>9}" for outcome in OUTCOMES), flush=True)
            for text, times in Counter(outcome for outcome in found if ":" in outcome).most_common(5):
                print(f"  {times} × {text[:200]}", flush=True)


if __name__ == "__main__":
    main()
