"""Two machines on one object store under faults: a few of the rounds of `bench/shared_faults.py`."""

import pytest

from bench.shared_faults import TRIES, Found, pair, round_of, sweep_of
from tests.faulty_service import Fault

ROUNDS, EVERY = (3, 4), 3


@pytest.fixture(scope="module")
def both():
    with pair() as both:
        yield both


def test_two_machines_under_faults_give_the_bytes_of_an_undisturbed_build_or_an_error_of_ours(both):
    found = Found()
    for number in ROUNDS:
        round_of(both, 1, number, found)
    assert not found.findings, "\n\n".join(found.findings)
    assert found.rounds == len(ROUNDS)
    assert found.calls["built"] >= 2 * len(ROUNDS), "of each round's two outputs"
    assert found.faults.total() > 30


def test_a_fault_of_any_request_of_a_build_loses_nothing(both):
    # `python -m bench.shared_faults` fails each request in each way.
    found, kinds = Found(), tuple(Fault)
    for turn, number in enumerate(range(0, both.requests, EVERY)):
        sweep_of(both, number, kinds[turn % len(kinds)], TRIES if turn % 2 else 1, found)
    assert not found.findings, "\n\n".join(found.findings)
    assert found.rounds > 4
    assert found.calls["told"] >= 1, "what is refused for long enough is said"
