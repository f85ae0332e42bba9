"""Two workers that share nothing but a store: every output is built once, and the seeds are split between them."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

from pgolf.store.artifact import Store
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORES
from tests.tiny import tiny_arguments, write_documents

START_S = 240.0
SECRETS = {"AWS_SECRET_ACCESS_KEY": "sentinel-of-the-aws-key-71c4", "HF_TOKEN": "hf_sentinelOfTheHubToken93ab"}


def worker(
    folder: Path, home: Path, seeds: tuple[int, ...] = (1, 2, 3), store: str = "store", *, beside: bool = True
) -> subprocess.Popen[str]:
    """`pgolf run` with a home, a temporary folder and tables of its own.

    beside: besides others, and so in a network of its own where that can be.
    """
    for name in ("tmp", "prefect", "results"):
        (home / name).mkdir(parents=True)
    arguments = [*tiny_arguments(folder), "--no-prefect"]
    arguments[arguments.index("--store") + 1] = str(folder / store)
    arguments[arguments.index("--results") + 1] = str(home / "results")
    arguments += ["--seeds", *map(str, seeds)]
    command = [str(Path(sys.executable).parent / "pgolf"), "run", *arguments]
    alone = ["unshare", "--net", "--pid", "--fork", "--mount-proc"]
    if beside and subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0:
        # With the loopback up, over which the ranks of a training find one another.
        command = [*alone, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            **SECRETS,
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "PGOLF_LEASES": str(home / "leases"),
            "PREFECT_HOME": str(home / "prefect"),
            "PYTHONUNBUFFERED": "1",
        },
    )


def scores(home: Path) -> list[tuple[object, ...]]:
    columns = ["seed", "estimator", "mixer", "order", "alpha", "loss_nats", "bpb", "total_bytes"]
    return sorted(
        (tuple(row.values()) for row in read(home / "results", SCORES, columns=columns).to_pylist()), key=repr
    )


def test_two_workers_build_every_output_once_split_the_seeds_and_keep_secrets_to_themselves(tmp_path):
    write_documents(tmp_path)
    homes = [tmp_path / "one", tmp_path / "two"]
    workers = [worker(tmp_path, home) for home in homes]
    said = ["", ""]

    def listen(i: int) -> None:
        said[i] = workers[i].communicate(timeout=START_S)[0]

    threads = [threading.Thread(target=listen, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.returncode for each in workers] == [0, 0], said
    built = [re.findall(r"^▸ (\S+)", text, re.MULTILINE) for text in said]
    assert sorted(built[0] + built[1]) == sorted(record.node for record in Store(tmp_path / "store").records())
    assert all(any(node.startswith("train") for node in nodes) for nodes in built), built
    assert scores(homes[0]) == scores(homes[1])

    single = worker(tmp_path, tmp_path / "three", seeds=(2,), store="other", beside=False)
    told, _ = single.communicate(timeout=START_S)
    assert single.returncode == 0, told
    together, alone = (
        {record.node: record.outputs for record in Store(tmp_path / store).records()} for store in ("store", "other")
    )
    del alone["audit[2]"]  # of its own first seed; together it is the other's
    assert alone == {node: outputs for node, outputs in together.items() if node in alone}
    assert scores(tmp_path / "three") == [row for row in scores(homes[0]) if row[0] == 2]

    leaks = [path for path in tmp_path.rglob("*") if path.is_file() and holds_a_secret(path.read_bytes())]
    assert leaks == []
    assert not holds_a_secret("".join([*said, told]).encode())


def holds_a_secret(content: bytes) -> bool:
    return any(secret.encode() in content for secret in SECRETS.values())
