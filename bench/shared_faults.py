"""Two machines on one object store, whose requests and answers are lost, cut, delayed, doubled and refused.

    python -m bench.shared_faults                     300 rounds, and every fault of every request of a build
    python -m bench.shared_faults --rounds 20 --no-sweep --seed 7

In a round both machines build the same outputs at the same time under faults, and then once more without. What must
hold of it: an output that a call gives has the bytes of an undisturbed build; each call ends, in an output or an error
of ours that names the store; no lock is held by two, unless the lease of the first had run out; no shared object is
put into quarantine, and a copy of a machine's own only where it could not share it or lost its lease; without faults
each call gives an output, and no lock that is left behind is renewed. The sweep fails request n of a build by one
machine, for each n and each fault, once and so often that the client gives up. The exit code is 1 if anything else was
found.
"""

import argparse
import json
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from pgolf.store.output_record import parse_record
from tests.faulty_service import Fault, FaultyService, Plan, at, seeded, undisturbed
from tests.object_service import BUCKET, Service
from tests.shared_machine import Answer, Holding, Machine, Report

LEASE_S = 1.0
LATE_S = 0.3
ENDS_WITHIN_S = 60.0
# So many requests in a row are at least one call of the store's: 3 tries of botocore's, twice.
TRIES = 6
ORDERS = ([1, 2], [2, 1])
# Of rounds: share of requests that fail, and of those that begin an outage.
MIXTURES = ((0.05, 0.0), (0.2, 0.0), (0.1, 0.02), (0.4, 0.0), (0.02, 0.05))


@dataclass
class Found:
    """What was tried, and what it came to. findings: what must not be, with the round."""

    rounds: int = 0
    requests: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    handovers: int = 0  # of locks whose lease had run out
    left_held: int = 0  # locks that nobody renews
    longest_s: float = 0.0
    findings: list[str] = field(default_factory=list)

    def note(self, where: str, what: Sequence[str]) -> None:
        """Keep the findings of a round."""
        self.findings += [f"{where}: {text}" for text in what]


class Pair:
    """Two machines, each behind a proxy of its own, and the service."""

    def __init__(self, folder: Path, service: Service, proxies: Sequence[FaultyService], machines: Sequence[Machine]):
        self.service, self.proxies, self.machines = service, proxies, machines
        self._folder, self._files = folder, service.files()
        self.whole: dict[int, dict[str, str]] = {}
        self.requests = 0

    def round(self, plans: Sequence[Plan], found: Found, where: str, seeds: Sequence[Sequence[int]] = ORDERS) -> None:
        """Build under faults, and then without, on stores of their own; adds to `found`."""
        url, caches = self._fresh()
        before = [Counter(proxy.faults) for proxy in self.proxies]
        wrong: list[str] = []
        disturbed = self._both(url, caches, plans, seeds, found)
        for proxy, faults in zip(self.proxies, before, strict=True):
            proxy.settle()
            found.faults += proxy.faults - faults
        wrong += [text for report in disturbed for answer in report.answers for text in self._wrong(answer, url)]
        overtaken: set[str] = set()
        wrong += self._overlaps(disturbed, overtaken)
        quiet = self._both(url, caches, (undisturbed, undisturbed), [max(seeds, key=len)] * 2, found)
        for answer in (answer for report in quiet for answer in report.answers):
            if answer.came_to not in ("built", "reused"):
                wrong.append(f"without faults {answer.seed} came to {answer.came_to}: {answer.said[-1500:]}")
            wrong += self._wrong(answer, url)
        wrong += self._overlaps(quiet, overtaken)
        found.handovers += len(overtaken)
        unshared = [{one.folder for one in report.answers if one.came_to == "told"} for report in disturbed]
        wrong += self._left_in_service(url, found)
        for cache, folders in zip(caches, unshared, strict=True):
            wrong += _left_in_cache(cache, folders | overtaken)
        found.rounds += 1
        found.note(where, wrong)

    def undisturbed(self) -> int:
        """Learn the bytes of an undisturbed build; returns how many requests one machine's takes."""
        found = Found()
        url, caches = self._fresh()
        [report, _] = self._both(url, caches, (undisturbed, undisturbed), ([2], []), found)
        self.whole = {answer.seed: answer.files for answer in report.answers}
        requests = len(self.proxies[0].requests)
        [again, _] = self._both(url, caches, (undisturbed, undisturbed), ([1], []), found)
        self.whole |= {answer.seed: answer.files for answer in again.answers}
        assert set(self.whole) == {1, 2}, (report, again)
        return requests

    def _fresh(self) -> tuple[str, list[Path]]:
        name = uuid.uuid4().hex[:8]
        return f"s3://{BUCKET}/{name}", [self._folder / name / host for host in ("one", "two")]

    def _both(
        self, url: str, caches: Sequence[Path], plans: Sequence[Plan], seeds: Sequence[Sequence[int]], found: Found
    ) -> list[Report]:
        for proxy, plan in zip(self.proxies, plans, strict=True):
            proxy.follow(plan)
        for machine, cache, order in zip(self.machines, caches, seeds, strict=True):
            machine.start(url, cache, list(order), lease_s=LEASE_S)
        reports = [machine.report() for machine in self.machines]
        for report in reports:
            found.calls.update(answer.came_to for answer in report.answers)
            found.longest_s = max([found.longest_s, *(answer.took_s for answer in report.answers)])
        found.requests += sum(len(proxy.requests) for proxy in self.proxies)
        return reports

    def _wrong(self, answer: Answer, url: str) -> Iterator[str]:
        if answer.came_to == "bug":
            yield f"no error of ours: {answer.said[-1500:]}"
        if answer.came_to == "told" and url not in answer.said:
            yield f"the error does not name the store: {answer.said}"
        if answer.came_to in ("built", "reused") and answer.files != self.whole[answer.seed]:
            yield f"other bytes of {answer.seed}: {answer.files}"
        if answer.took_s > ENDS_WITHIN_S:
            yield f"a call took {answer.took_s:.0f} s"

    def _overlaps(self, reports: Sequence[Report], overtaken: set[str]) -> Iterator[str]:
        """Two that held one lock at once, though the first had renewed it within the lease. overtaken: gets all others.

        Who takes a lock over has seen its object unchanged for a lease. A write of the first's that succeeded between
        the begin of that time and the first try of the second to take it is impossible.
        """
        holdings = sorted((one for report in reports for one in report.holdings), key=lambda one: one.from_s)
        for folder in {one.folder for one in holdings}:
            for first, second in pairwise(one for one in holdings if one.folder == folder):
                if second.from_s < first.until_s:
                    overtaken.add(folder)
                    if _renewed_meanwhile(first, second):
                        yield f"two held {folder} at once: {first}, {second}"

    def _left_in_service(self, url: str, found: Found) -> Iterator[str]:
        """What is wrong with the objects that are left when all has ended well."""
        root = url.removeprefix("s3://")
        objects = {path.removeprefix(f"{root}/"): path for path in self._files.find(root)}
        held = {}
        for name, path in objects.items():
            if name.startswith("records/"):
                record = parse_record(self._files.cat_file(path))
                sizes = {file: self._files.size(f"{root}/{record.folder}/{file}") for file in record.files}
                if sizes != {file: kept.size_bytes for file, kept in record.files.items()}:
                    yield f"{name} has not its files: {sizes}"
            elif name.startswith("quarantine/"):
                yield f"{name} was not damaged"
            elif name.startswith("locks/"):
                content = self._files.cat_file(path)
                held |= {} if json.loads(content).get("turn") == -1 else {path: content}
        if held:
            found.left_held += len(held)
            time.sleep(LEASE_S)
            yield from (f"{path} is renewed" for path in held if self._files.cat_file(path) != held[path])


def _left_in_cache(cache: Path, unshared: set[str]) -> Iterator[str]:
    """What is left in a cache when all has ended well. unshared: outputs that another may have shared first."""
    for path in (cache / "quarantine").glob("*"):
        if path.name.partition(".")[0] not in unshared:
            yield f"{path} was not damaged"
    yield from (f"{path} is left" for glob in (".tmp-*", ".get-*", "partial/*") for path in cache.glob(glob))


def _renewed_meanwhile(first: Holding, second: Holding) -> bool:
    since_s = second.from_s - LEASE_S
    return any(began_s > since_s and ended_s < second.began_s for began_s, ended_s in first.written_s)


@contextmanager
def pair() -> Iterator[Pair]:
    """Two machines and a service of their own, inside the block; `whole` is known."""
    with tempfile.TemporaryDirectory() as made, ExitStack() as held:
        service = Service(Path(made) / "log")
        service.start()
        held.callback(service.stop)
        service.files().mkdir(BUCKET)
        proxies = [held.enter_context(FaultyService(service.port, late_s=LATE_S)) for _ in range(2)]
        machines = []
        for host, proxy in zip(("one", "two"), proxies, strict=True):
            machines.append(Machine(host, service, proxy.port))
            held.callback(machines[-1].stop)
        both = Pair(Path(made), service, proxies, machines)
        both.requests = both.undisturbed()
        yield both


def round_of(both: Pair, seed: int, number: int, found: Found) -> None:
    """Round `number` of a seed: both machines under the same mixture of faults."""
    share, outages = MIXTURES[number % len(MIXTURES)]
    plans = [seeded(f"{seed} {number} {host}", share=share, outages=outages) for host in ("one", "two")]
    both.round(plans, found, f"round {number}")


def sweep_of(both: Pair, number: int, fault: Fault, requests: int, found: Found) -> None:
    """A build by one machine alone, whose requests from `number` on come to a fault."""
    plans = (at(number, fault, requests=requests), undisturbed)
    both.round(plans, found, f"{fault} of {requests} requests from {number} on", ([1], []))


def main(argv: Sequence[str] | None = None) -> int:
    """Try, print what was found; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.shared_faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300, help="default 300")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--no-sweep", action="store_true", help="rounds alone")
    options = parser.parse_args(argv)
    found, began_s = Found(), time.monotonic()
    with pair() as both:
        for number in range(options.first, options.first + options.rounds):
            round_of(both, options.seed, number, found)
            _say(found, began_s)
        if not options.no_sweep:
            for number in range(both.requests):
                for fault in Fault:
                    for requests in (1, TRIES):
                        sweep_of(both, number, fault, requests, found)
                _say(found, began_s)
    print(
        json.dumps(
            {
                "rounds": found.rounds,
                "requests": found.requests,
                "faults": found.faults,
                "calls": found.calls,
                "locks taken over": found.handovers,
                "locks left held, not renewed": found.left_held,
                "longest call in s": round(found.longest_s, 1),
                "findings": found.findings,
            },
            indent=1,
        )
    )
    return int(bool(found.findings))


def _say(found: Found, began_s: float) -> None:
    print(
        f"{found.rounds} rounds, {found.requests} requests, {found.faults.total()} faults, {len(found.findings)} "
        f"findings, {time.monotonic() - began_s:.0f} s",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
