"""Which GPUs a process may use, by the driver and CUDA_VISIBLE_DEVICES. The driver's library is a stand-in's."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pgolf.errors import MachineError
from pgolf.machine import driver, gpus
from pgolf.machine.driver import Gpu
from pgolf.machine.gpus import may_be_tried, refuse_busy, visible_gpus, visible_of
from pgolf.machine.hardware import gpu_names
from tests.fake_driver import BYTES, H100, gpu, library

as_a_user_does = pytest.mark.exec
UUIDS = ("GPU-0aaa-0", "GPU-1aaa-1", "GPU-1aaa-2", "GPU-3aaa-3")
FOUR = [Gpu(uuid=uuid, name=H100) for uuid in UUIDS]


def shown(setting, order=None):
    return [UUIDS.index(one.uuid) for one in visible_of(FOUR, setting, order).gpus]


@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        (None, [0, 1, 2, 3]),
        ("2,0", [2, 0]),
        (" 1 , 3x", [1, 3]),
        ("+1", [1]),
        ("GPU-0,GPU-1aaa-2", [0, 2]),
        ("GPU-3aaa-3", [3]),
    ],
)
def test_what_a_setting_names_is_shown_in_its_order(setting, seen):
    assert shown(setting) == seen
    assert visible_of(FOUR, setting, None).problem == ""


@pytest.mark.parametrize(
    ("setting", "seen", "says"),
    [
        (
            "0,4,1",
            [0],
            "'4' names no GPU of this machine, and CUDA reads no further, which leaves 1; name some of 0 to 3",
        ),
        ("0,-1,1", [0], "'-1' names no GPU"),
        ("first", [], "'first' names no GPU"),
        ("1,2,1", [], "'1' names a GPU for the second time, and CUDA then shows none"),
        ("GPU-0,GPU-7", [0], "'GPU-7' names no GPU .* name some of GPU-0aaa-0, GPU-1aaa-1"),
        ("GPU-1", [], "'GPU-1' names more than one GPU"),
        ("GPU-0,1", [0], "'1' names no GPU"),
        ("GPU-0aaa-0,GPU-0", [], "for the second time"),
        ("MIG-5c1e", [], "of MIG instances CUDA shows a process one"),
    ],
)
def test_a_setting_that_names_what_is_not_there_is_a_problem(setting, seen, says):
    assert shown(setting) == seen
    with pytest.raises(AssertionError, match=f"CUDA_VISIBLE_DEVICES={setting}: .*{says}"):
        raise AssertionError(visible_of(FOUR, setting, None).problem)


@pytest.mark.parametrize("setting", ["", " ", "-1", "NoDevFiles"])
def test_gpus_that_are_hidden_on_purpose_are_no_problem(setting):
    found = visible_of(FOUR, setting, None)
    assert (found.gpus, found.problem) == ((), "")
    assert found.counted == f"the driver lists 4 GPUs, CUDA_VISIBLE_DEVICES={setting} hides them all"


ENTRIES = st.sampled_from(["0", "1", "2", "3", " 2", "1x", "", "x", "-1", "+3"])
UUID_ENTRIES = st.sampled_from(["GPU-0", "GPU-1", "GPU-1aaa-1", "GPU-3aaa-3", "GPU-9", "0", ""])


@given(st.one_of(st.lists(ENTRIES, max_size=4), st.lists(UUID_ENTRIES, max_size=4).map(lambda rest: ["GPU-0", *rest])))
def test_what_is_shown_is_what_torch_reads_unless_that_is_less_than_the_variable_names(entries):
    """torch counts GPUs by its own reading of it, written after CUDA's."""
    setting = ",".join(entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", setting)
        theirs = torch.cuda._parse_visible_devices()
    if theirs and isinstance(theirs[0], str):
        theirs = torch.cuda._transform_uuid_to_ordinals(theirs, list(UUIDS))
    if visible_of(FOUR, setting, None).problem:
        assert len(theirs) < len(entries)  # not all that it names
    else:
        assert shown(setting) == theirs


def test_indices_among_gpus_of_several_kinds_need_the_order_that_the_driver_has(machine):
    kinds = [gpu(0, name="NVIDIA A100"), gpu(1), gpu(2)]
    machine(kinds, "1")
    assert "are of 2 kinds (NVIDIA A100, NVIDIA H100 80GB HBM3)" in visible_gpus().problem
    for visible, order in (("1", "PCI_BUS_ID"), ("GPU-1", None)):
        machine(kinds, visible, order)
        assert visible_gpus().problem == ""
        assert gpu_names() == (H100,)


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (gpu(1, mig="1"), "is divided into MIG instances; undo it"),
        (gpu(1, name="Tesla T4", capability="7.5"), r"Tesla T4 \(GPU-1aaa-1\) has compute capability 7.5"),
        (gpu(1, memory_bytes=8_589_934_592), "has 8.6 GB of memory, at least 12 are needed"),
    ],
)
def test_a_gpu_that_cannot_do_the_work_is_a_problem_unless_it_is_hidden(machine, one, says):
    machine([gpu(0), one])
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(visible_gpus().problem)
    machine([gpu(0), one], "GPU-0")
    assert (visible_gpus().problem, len(visible_gpus().gpus)) == ("", 1)
    machine([gpu(0, mig=""), gpu(1, mig="")])  # which cannot be divided
    assert visible_gpus().problem == ""


LOST, OF_OTHERS = "!15", "!4"


def test_a_gpu_that_fell_off_its_bus_is_named_and_the_others_are_used_by_uuid(machine):
    machine([gpu(0), LOST, gpu(2)])
    problem = visible_gpus().problem
    assert problem.startswith("the driver says that its GPU 1 does not answer: nvmlDeviceGetHandleByIndex_v2 says ")
    assert problem.endswith("name others by UUID: CUDA_VISIBLE_DEVICES=GPU-0aaa-0,GPU-2aaa-2")
    machine([gpu(0), LOST, gpu(2)], "1")
    assert "its GPU 1 does not answer" in visible_gpus().problem
    machine([LOST, gpu(0), gpu(2, free_bytes=BYTES // 2)], "GPU-2aaa-2,GPU-0")
    assert ([one.uuid[:5] for one in visible_gpus().gpus], visible_gpus().problem) == (["GPU-2", "GPU-0"], "")
    with pytest.raises(MachineError, match=r"GPU-2aaa-2 has 42.8 of 85.5 GB free"):
        refuse_busy(["GPU-2aaa-2"])
    machine([gpu(0), LOST], "")
    assert visible_gpus().problem == ""
    machine([LOST, LOST])
    assert "lists GPUs, but its GPU 0 does not answer" in visible_gpus().problem


def test_gpus_that_a_cgroup_gives_to_others_are_not_there(machine):
    machine([OF_OTHERS, gpu(1), gpu(2), OF_OTHERS], "1")
    found = visible_gpus()
    assert ([one.uuid for one in found.gpus], found.problem) == (["GPU-2aaa-2"], "")
    machine([OF_OTHERS, OF_OTHERS])
    assert (visible_gpus().counted, visible_gpus().problem) == ("the NVIDIA driver lists no GPU", "")


def test_a_gpu_whose_memory_the_driver_does_not_tell_is_used_all_the_same(machine):
    machine([gpu(0, name="NVIDIA GB10", memory_bytes=None, capability="12.1")])
    (found,) = visible_gpus().gpus
    assert (found.memory_bytes, visible_gpus().problem) == (None, "")
    refuse_busy([found.uuid])


def test_a_driver_that_lists_none_and_one_that_does_not_answer_are_told_apart(machine):
    machine(0)
    assert (visible_gpus().counted, visible_gpus().problem) == ("the NVIDIA driver lists no GPU", "")
    machine("!9")
    assert visible_gpus().problem.startswith("the NVIDIA driver does not answer: nvmlInit_v2 says 'Driver Not Loaded'")


def test_without_its_library_the_kernels_listing_counts_and_device_files_alone_are_a_problem(
    machine, monkeypatch, tmp_path
):
    monkeypatch.setattr(driver, "LIBRARY", str(tmp_path / "libnvidia-ml.so.1"))
    monkeypatch.setattr(driver, "PROC", tmp_path / "gpus")
    monkeypatch.setattr(driver, "DEVICES", tmp_path)
    machine(0, "1")
    assert (visible_gpus().counted.startswith("there is no NVIDIA driver here"), visible_gpus().problem) == (True, "")
    (tmp_path / "nvidia0").touch()
    driver.listing.cache_clear()
    assert "there are GPUs here (nvidia0 in" in visible_gpus().problem
    for number in range(2):
        folder = tmp_path / f"gpus/0000:{number}b:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t {H100}\nIRQ:   \t\t 18\nGPU UUID: \t GPU-{number}\n")
    driver.listing.cache_clear()
    assert visible_gpus().gpus == (Gpu(uuid="GPU-1", name=H100),)
    refuse_busy(["GPU-1"])  # which nobody can say


def test_a_gpu_whose_memory_somebody_holds_is_refused_and_who_it_is(machine):
    machine([gpu(0), gpu(1, free_bytes=BYTES - 40_000_000_000, users=f"4242:39000000000,{os.getpid()}:500000000")])
    refuse_busy(["GPU-0aaa-0"])
    with pytest.raises(
        MachineError, match=r"GPU-1aaa-1 has 45.5 of 85.5 GB free; process 4242 \(39.0 GB\) holds the rest"
    ):
        refuse_busy(["GPU-0aaa-0", "GPU-1aaa-1"])
    machine([gpu(0, free_bytes=1_000_000_000)])
    with pytest.raises(MachineError, match="a process that the driver does not name holds the rest"):
        refuse_busy(["GPU-0aaa-0"])
    machine([gpu(0, free_bytes=int(0.95 * BYTES), users="1:500000000,2:500000000,3:500000000")])
    refuse_busy(["GPU-0aaa-0"])  # contexts of processes that wait


def test_gpus_are_tried_only_where_nobody_is_seen_at_work(machine):
    uuids = ["GPU-0aaa-0", "GPU-1aaa-1"]
    for other, may in (
        (gpu(1), True),
        (gpu(1, users="77:500000000"), False),
        (gpu(1, free_bytes=BYTES // 2), False),  # of another container
        (gpu(1, memory_bytes=None), True),
    ):
        machine([gpu(0), other])
        assert may_be_tried(uuids) is may
    machine([gpu(0), gpu(1, users="77:500000000")])
    assert may_be_tried(uuids[:1])  # nobody asked for the other


def test_the_memory_of_a_process_that_is_ending_is_waited_for(machine, monkeypatch):
    """A rank that was killed holds it for a moment longer than its stage lasts."""
    busy = driver.Use(free_bytes=BYTES // 8, memory_bytes=BYTES, processes=((77, BYTES // 2),))
    free = driver.Use(free_bytes=BYTES, memory_bytes=BYTES, processes=())
    seen, slept_s = iter([busy, busy, free, busy, free]), []
    monkeypatch.setattr(gpus, "use_of", lambda _uuid: next(seen))
    monkeypatch.setattr(gpus, "ENDING_S", 1000.0)
    monkeypatch.setattr(gpus.time, "sleep", slept_s.append)
    refuse_busy(["GPU-0aaa-0", "GPU-1aaa-1"])
    assert len(slept_s) == 3


@as_a_user_does
def test_a_process_without_torch_knows_them_too(tmp_path):
    """By the library's name, as a driver is found; nvidia-smi is not there."""
    code = "import sys; from pgolf.machine import hardware; print(hardware.gpu_names(), 'torch' in sys.modules)"
    gpus = ";".join(gpu(number) for number in range(8))
    environment = {
        **os.environ,
        "PATH": str(tmp_path),
        "LD_LIBRARY_PATH": str(library().parent),
        "FAKE_NVML": gpus,
        "CUDA_VISIBLE_DEVICES": "0,1",
    }
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == f"{(H100, H100)} False"
