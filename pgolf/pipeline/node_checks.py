"""Checks of this node for `pgolf doctor`: each tries the real thing, says what it found, and names the remedy.

Reads the driver, the store, the clock and the installed packages; imports neither torch nor Prefect.
"""

import ctypes
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from pgolf.errors import PgolfError
from pgolf.machine.driver import use_of
from pgolf.machine.gpus import may_be_tried, visible_gpus
from pgolf.machine.lease import leased
from pgolf.machine.lease_place import apart
from pgolf.machine.torch_build import build_lacks, torch_build
from pgolf.model.parameter_count import parameter_count
from pgolf.pipeline.graph import Node
from pgolf.pipeline.plan import Step
from pgolf.recipes.recipe import Recipe
from pgolf.store.artifact import Store
from pgolf.store.output_record import Record

SHARED_MEMORY_BYTES = 1_000_000_000
FREE_TMP_BYTES = 1_000_000_000
WRONG_CLOCK_S = 5.0
SHARD_BYTES = 200_001_024  # a published shard: 100 M tokens of two bytes behind a header of 1,024
VAL_TOKENS = 62_021_632  # targets of the published validation set
OTHER_TOKENS = 5_000_000  # taken for documents of one's own, which nobody has counted yet
FETCH = "`pgolf fetch` where there is a network, or --data DIR where the shards are on disk"
_NTP_TIME_ERROR = 5
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)$")


@dataclass(frozen=True, slots=True)
class Check:
    """ok: True fine, False a finding, None could not be checked or does not apply. remedy: what to do about it."""

    name: str
    ok: bool | None
    said: str
    remedy: str = ""


def check_python() -> Check:
    """The interpreter."""
    version = platform.python_version()
    fine = sys.version_info >= (3, 11)
    return Check("python", fine, f"Python {version}", "" if fine else "install Python 3.11 or newer, then `make setup`")


def check_versions(constraints: Path) -> Check:
    """Installed packages against the pinned ones."""
    if not constraints.is_file():
        return Check("versions", None, f"no {constraints}", "run from a checkout to compare with its pins")
    pins = {match[1]: match[2] for line in constraints.read_text().splitlines() if (match := _PIN.match(line))}
    differ, missing = [], []
    for name, pinned in pins.items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if installed.partition("+")[0] != pinned:
            differ.append(f"{name} {installed} instead of {pinned}")
    said = f"{len(pins) - len(differ) - len(missing)} of {len(pins)} packages as pinned"
    if differ or missing:
        said += "; " + "; ".join([*differ, *(f"{name} is missing" for name in missing)][:8])
        return Check("versions", False, said, f"pip install -c {constraints} -e '.[train,flows,dev]', or `make setup`")
    return Check("versions", True, said)


def check_gpus(lease_dir: Path) -> Iterator[Check]:
    """GPUs by the driver and by torch (in a process of its own), and whether anything uses them."""
    seen = visible_gpus()
    names = [gpu.name for gpu in seen.gpus]
    if seen.problem:
        yield Check("gpus", False, seen.problem, "do what it says, then run this again")
    elif not names:
        remedy = "on a GPU node: install the NVIDIA driver, so that `nvidia-smi` lists them; on a CPU nothing"
        yield Check("gpus", None, f"{seen.counted}; torch was not asked", remedy)
    else:
        uses = [use_of(gpu.uuid) for gpu in seen.gpus]
        build = torch_build(tries="compiler" if may_be_tried([gpu.uuid for gpu in seen.gpus]) else "nothing")
        lacks = {lack.name: lack for lack in build_lacks(build, len(names))}
        torch = "torch cannot be imported" if build is None else f"torch {build.version}: {build.gpus}"
        said = f"driver: {len(names)} × {names[0]}; {torch}"
        for name, fine in (("gpus", said), ("nccl", "ranks can talk by NCCL"), ("flash attention", "torch has it")):
            if name in lacks:
                yield Check(name, False, f"{said}; {lacks[name].said}", lacks[name].remedy)
            elif name == "gpus" or "gpus" not in lacks:
                yield Check(name, True, fine)
        if "compiler" in lacks:
            yield Check("compiler", False, lacks["compiler"].said, lacks["compiler"].remedy)
        if None in uses:
            yield Check("gpus idle", None, "the driver does not say who uses them")
        else:
            users = [f"{pid}, {(used or 0) >> 20} MiB" for use in uses if use for pid, used in use.processes]
            yield Check(
                "gpus idle",
                not users,
                f"used by process {'; '.join(users)}" if users else "no process uses them",
                "wait for it, or end it if it is left over: `nvidia-smi`, `ps -fp PID`" if users else "",
            )
        if len(names) > 1:
            yield check_shared_memory()
    yield _check_leases(lease_dir)


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Check:
    """Room for the segments by which NCCL's ranks of one machine find each other; containers are given 64 MB."""
    try:
        size = shutil.disk_usage(folder).total
    except OSError as error:
        return Check("shared memory", None, f"{folder}: {error.strerror}")
    said = f"{_gb(size)} in {folder}"
    if size >= SHARED_MEMORY_BYTES:
        return Check("shared memory", True, said)
    remedy = "if NCCL fails there (`pgolf selftest --only collectives`): `docker run --shm-size=1g`, or --ipc=host"
    return Check("shared memory", None, f"{said}, which may be too little for NCCL", remedy)


def _check_leases(lease_dir: Path) -> Check:
    try:
        held = leased(lease_dir)
    except PgolfError as error:
        return Check("leases", False, str(error), "do what it says, then run this again")
    said = [f"{device} is leased by {holder}" for device, holder in held.items()] or ["no device is leased"]
    who = apart(lease_dir)
    remedy = "wait for them, or end what is left over" if held else "see docs/deploy.md, Leases" if who else ""
    return Check(
        "leases",
        False if held else None if who else True,
        "; ".join([*said, f"locks in {lease_dir}", *filter(None, [who])]),
        remedy,
    )


def check_store(folder: Path, option: str = "--store") -> Check:
    """Write to the store's folder, and lock a file there twice, which must fail the second time.

    option: what names the folder.
    """
    there = _nearest_folder(folder)
    probe = there / f".doctor-{os.getpid()}"
    try:
        descriptors = [os.open(probe, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2)]
    except OSError as error:
        return Check("store", False, f"{there}: {error.strerror}", f"make it writable, or choose another {option}")
    try:
        os.write(descriptors[0], b"pgolf")
        os.fsync(descriptors[0])
        fcntl.flock(descriptors[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(descriptors[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Check("store", True, f"{there} can be written, and flock works")
        remedy = f"mount it with locks (NFS: local_lock=none, Lustre: -o flock), or choose another {option}"
        return Check("store", False, f"{there}: two locks of one file at once", remedy)
    except OSError as error:
        remedy = f"free space, or choose another {option} on a file system with flock"
        return Check("store", False, f"{there}: {error.strerror}", remedy)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        probe.unlink()


@dataclass(frozen=True, slots=True)
class Need:
    """What one output will take; is_estimate: from the configs, where none of its kind was made before."""

    size_bytes: int
    is_estimate: bool


def needs(steps: Sequence[Step], recipe: Recipe, store: Store) -> list[Need]:
    """What the plan's outputs will take in the store's folder: those that run, and those that are not here yet."""
    records_of = cache(lambda stage: list(store.records(stage)))
    found = []
    for step in steps:
        if step.artifact is None:
            found.append(_expected(step.node, recipe, records_of(step.node.stage.name)))
        elif not step.artifact.path.exists():
            found.append(Need(step.artifact.record.size_bytes, False))
    return found


def check_space(
    folder: Path,
    needed: Sequence[Need] | None = None,
    *,
    option: str = "--store",
    unknown: str = "name a recipe to compare with what it needs",
) -> Iterator[Check]:
    """Free bytes where the outputs and the temporary files lie, against what is still to come there.

    option: what names the folder. unknown: what to do where nobody knows what is needed (needed is None).
    """
    there = _nearest_folder(folder)
    free = shutil.disk_usage(there).free
    said = f"{_gb(free)} free in {there}"
    if needed is None:
        yield Check("disk", None, said, unknown)
    else:
        need = sum(one.size_bytes for one in needed)
        guessed = sum(one.is_estimate for one in needed)
        said += f", about {_gb(need)} needed for {len(needed)} outputs"
        others = ", the others as they were before" if guessed < len(needed) else ""
        said += f" ({guessed} by an estimate{others})" if guessed else ""
        remedy = f"free space{', `pgolf gc`' if option == '--store' else ''}, or another {option}"
        yield Check("disk", free > need, said, "" if free > need else remedy)
    tmp = Path(tempfile.gettempdir())
    free = shutil.disk_usage(tmp).free
    fine = free >= FREE_TMP_BYTES
    yield Check("tmp", fine, f"{_gb(free)} free in {tmp}", "" if fine else "free 1 GB there, or set TMPDIR")


def _expected(node: Node, recipe: Recipe, records: Sequence[Record]) -> Need:
    """Size of the node's latest output, else an estimate from the configs. records: of its stage."""
    earlier = [record for record in records if record.node == node.name]
    if earlier:
        return Need(max(earlier, key=lambda record: record.started_utc).size_bytes, False)
    model, orders = recipe.model, len(recipe.count.orders)
    tokens = VAL_TOKENS if recipe.fetch else OTHER_TOKENS
    weights = 4 * parameter_count(model)
    estimates = {
        "fetch": SHARD_BYTES * (recipe.fetch.train_shards + 1) if recipe.fetch else 0,
        "tokenize": 2 * OTHER_TOKENS,
        "train": weights,
        "import": weights,
        "calibrate": 4 * model.layers * (4 * model.width**2 + model.mlp_width**2),
        "compress": 2 * recipe.compress.budget_bytes,
        "score": 16 * tokens,
        "count": 8 * orders * tokens,
        "hint": 16 * tokens,
    }
    return Need(estimates.get(node.stage.name, 10_000_000), True)


def check_data(steps: Callable[[], Sequence[Step]]) -> Check:
    """Whether the recipe's data is in the store, or can be made from files that are here."""
    try:
        data = next(step for step in steps() if step.node.name == "data")
    except PgolfError as error:
        return Check("data", False, str(error), "give what it names, or `pgolf fetch` / `pgolf tokenize` first")
    if data.artifact is not None:
        return Check("data", True, f"in the store: {data.artifact.path.name}")
    if data.node.stage.name == "fetch":
        return Check("data", False, "not in the store, and published shards are fetched over the network", FETCH)
    if data.action == "depends":
        return Check("data", True, "; ".join(data.reasons))
    made = "copied from shards" if data.node.stage.name == "shards" else "tokenized here from documents"
    return Check("data", True, f"not in the store yet; {made} that are present")


def check_clock(folders: Sequence[Path], ahead_s: float | None = None) -> Check:
    """The wall clock against the monotonic one, against files here, and against the server's, as far as it is known.

    ahead_s: seconds by which this clock is ahead of the server's.
    """
    wall_s, steady_s = time.time(), time.monotonic()
    time.sleep(0.2)
    jump_s = (time.time() - wall_s) - (time.monotonic() - steady_s)
    now_s = time.time()
    newest = max((changed_s for folder in folders for changed_s in _changes_s(folder)), default=now_s)
    said = f"{time.strftime('%Y-%m-%d %H:%M:%S %z', time.localtime(now_s))}"
    remedy = "set the clock (`timedatectl set-ntp true`, or chrony), then look again"
    if abs(jump_s) > 0.05:
        return Check("clock", False, f"{said}, and it jumped by {jump_s:+.2f} s in 0.2 s", remedy)
    if newest - now_s > WRONG_CLOCK_S:
        return Check(
            "clock", False, f"{said}, but a file here was changed {newest - now_s:.0f} s in its future", remedy
        )
    if ahead_s is not None and abs(ahead_s) > WRONG_CLOCK_S:
        return Check("clock", False, f"{said}, {ahead_s:+.0f} s from the server's", remedy)
    compared = "agrees with the server's" if ahead_s is not None else "no server to compare it with"
    synced = _kernel_is_synchronized()
    ntp = {True: "kept by NTP", False: "the kernel says that nothing keeps it", None: "NTP unknown"}[synced]
    return Check("clock", True, f"{said}; {compared}; {ntp}")


def _changes_s(folder: Path) -> Iterator[float]:
    """When what lies in the folder was last changed; what cannot be looked at, or has just gone, is left out."""
    try:
        paths = list(folder.iterdir())
    except OSError:
        return
    for path in paths:
        with suppress(OSError):
            yield path.stat().st_mtime


def _kernel_is_synchronized() -> bool | None:
    try:
        state = ctypes.CDLL(None).ntp_adjtime(ctypes.create_string_buffer(256))  # zeros: asks, changes nothing
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != _NTP_TIME_ERROR


def _run(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _nearest_folder(path: Path) -> Path:
    """The path itself, or the closest folder above it that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
