"""A process as labels of a flow run and as a worker's name, and back."""

from pathlib import Path

import yaml

from flows.dead_runs import FLOWS, labels_of, process_of_flow, process_of_worker, worker_name
from pgolf.machine.process import Process


def test_a_process_survives_labels_and_a_workers_name():
    here = Process.here()
    assert process_of_flow({**labels_of(here), "prefect.flow.id": "x"}) == here
    assert process_of_worker(worker_name(here)) == here


def test_every_deployment_is_of_a_flow_whose_dead_runs_are_settled():
    deployments = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
    assert [one["name"] for one in deployments] == FLOWS
    assert [one["entrypoint"] for one in deployments] == [f"flows/{name}.py:{name}" for name in FLOWS]


def test_what_is_no_process_of_ours_is_none():
    assert process_of_flow({"pgolf.pid": "1"}) is None
    assert process_of_flow({**labels_of(Process.here()), "pgolf.pid": "one"}) is None
    for name in (None, "", "ProcessWorker 1b2c", "pgolf vm"):
        assert process_of_worker(name) is None
