"""What a machine cannot run is said before anything starts."""

import pytest

from flows.commands.cli import main
from pgolf.errors import ConfigError
from pgolf.machine import hardware
from pgolf.machine.hardware import ranks_for
from pgolf.pipeline import preflight
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.plan import make_plan
from pgolf.pipeline.preflight import check_machine
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.run import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo


@pytest.fixture
def machine(monkeypatch):
    """Makes the driver list the given number of GPUs."""

    def with_gpus(count):
        for module in (hardware, preflight):
            monkeypatch.setattr(module, "gpu_names", lambda: ("NVIDIA H100 80GB HBM3",) * count)

    return with_gpus


def check(tmp_path, name, *overrides, **options):
    recipe = apply_overrides(recipe_named(name), overrides)
    run = RunOptions(**options)
    steps = make_plan(pipeline(recipe, run=run), Store(tmp_path / "store"), Memo(tmp_path / "memo"))
    check_machine(steps, run)


@pytest.mark.parametrize(
    ("gpus", "name", "overrides", "options", "says"),
    [
        (0, "pr715", [], {}, r"score\[1337\]: precision bfloat16 is computed on CUDA.*-tiny twin"),
        (8, "pr715", [], {"device": "cpu"}, "device cpu was asked for"),
        (0, "pr715-tiny", [], {"device": "cuda"}, "device cuda asked for, but the driver lists no GPU"),
        (8, "pr715", [], {"processes": 3}, "3 ranks cannot share 8 spans a step evenly; use 1, 2, 4, 8 ranks"),
        (4, "pr715", [], {"processes": 8}, "8 ranks asked for, the driver lists 4 GPUs"),
        (8, "pr715-tiny", [], {"device": "cuda"}, "precision float32 is computed on a CPU, but device cuda"),
    ],
)
def test_what_the_machine_lacks_is_said_in_numbers(machine, tmp_path, gpus, name, overrides, options, says):
    machine(gpus)
    with pytest.raises(ConfigError, match=says):
        check(tmp_path, name, *overrides, **options)


@pytest.mark.parametrize(
    ("gpus", "name", "options"),
    [(8, "pr792", {}), (1, "pr745", {}), (8, "pr792", {"processes": 4}), (0, "pr792-tiny", {}), (0, "demo", {})],
)
def test_a_machine_that_has_all_passes(machine, tmp_path, gpus, name, options):
    machine(gpus)
    check(tmp_path, name, **options)


@pytest.mark.parametrize(
    ("gpus", "device", "spans", "ranks"),
    [(8, "auto", 8, 8), (7, "auto", 8, 4), (8, "auto", 4, 4), (1, "auto", 8, 1), (0, "auto", 8, 1), (8, "cpu", 8, 1)],
)
def test_unasked_a_training_takes_as_many_gpus_as_share_its_step_evenly(machine, gpus, device, spans, ranks):
    machine(gpus)
    assert ranks_for(RunOptions(device=device), spans) == ranks


def test_the_number_of_gpus_is_part_of_a_clocked_training_and_not_of_one_by_steps(machine):
    def training(name, gpus):
        machine(gpus)
        return next(node for node in pipeline(recipe_named(name)) if node.stage.name == "train")

    assert training("pr715", 8).hardware["processes"] == 8
    assert training("pr715", 8).hardware != training("pr715", 4).hardware
    assert training("pr638", 8).hardware == training("pr638", 1).hardware == {}


def test_a_run_is_refused_before_its_first_stage(machine, tmp_path, monkeypatch, capsys):
    machine(0)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "pr792", "--device", "cuda", "--no-prefect"]) == 2
    told = capsys.readouterr()
    assert "ConfigError: train[1337]: device cuda asked for" in told.err
    assert not list((tmp_path / "artifacts").glob("*-*"))
    assert main(["plan", "pr792"]) == 0  # planning a node's run on a laptop is fine
