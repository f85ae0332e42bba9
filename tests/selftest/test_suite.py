"""The whole: real ranks on a CPU, what the command prints, and what ends a check."""

import json
import os
import textwrap
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from flows.commands import selftest_command
from flows.commands.cli import main
from flows.commands.selftest_command import table
from pgolf.errors import LaunchError, MachineError
from pgolf.ranks.group import Ranks
from pgolf.run_options import RunOptions
from pgolf.selftest import __main__ as rank_program
from pgolf.selftest import suite
from pgolf.selftest.check import Check, Finding, Verdict
from pgolf.selftest.selftest_job import Measured, SelftestJob, measured_file
from tests.fake_driver import gpu

ON_RANKS = ("collectives", "equal ranks", "resumed training", "shared score")


def test_on_two_ranks_of_a_cpu_all_that_needs_no_gpu_passes_and_the_rest_is_skipped(capsys):
    assert main(["selftest", "--device", "cpu", "--seconds", "200", "--json", "--only", *ON_RANKS, "step pr745"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    passed = {finding["name"]: finding["passed"] for finding in found["findings"]}
    assert passed == {**dict.fromkeys(ON_RANKS, True), "step pr745": None}
    assert all(len(one["numbers"]) == 2 for one in found["findings"] if one["passed"])
    skipped = found["findings"][-1]
    assert skipped["said"] == "skipped: no GPU"
    assert "✓ equal ranks" in shown.err


def test_what_is_not_done_in_time_has_failed(capsys):
    assert main(["selftest", "--device", "cpu", "--seconds", "0.01", "--only", "collectives"]) == 1
    said = capsys.readouterr().out
    assert "✗ collectives  not finished: the time was over" in said
    assert "→ give it more time: `pgolf selftest --seconds 600`" in said
    assert "0 passed, 1 failed; " in said


def test_a_name_that_is_no_check_and_a_gpu_that_is_not_here_are_misuse(capsys, machine):
    assert main(["selftest", "--only", "colectives"]) == 2
    assert "no check colectives; there are collectives, bf16 network" in capsys.readouterr().err
    assert main(["selftest", "--device", "cuda"]) == 2
    assert "run on a GPU node, or leave --device out" in capsys.readouterr().err


def check(name):
    return Check(
        name=name,
        proves="a",
        measure=dict,
        judge=lambda by_rank: Verdict(sum(numbers["n"] for numbers in by_rank) == 2, "said"),
        means="what it means",
        remedy="what to do",
    )


CHECKS = {name: check(name) for name in ("one", "two", "three")}


def test_a_rank_that_dies_fails_the_check_it_was_in_and_those_after_it_run_again(tmp_path):
    def measured(name, rank, n):
        text = Measured(numbers={"n": n}, wall_s=1.0).model_dump_json()
        (tmp_path / measured_file(name, rank)).write_text(text)

    for rank in range(2):
        measured("one", rank, 1)
    measured("two", 1, 1)  # rank 0 did not get there
    error = LaunchError("rank 0 of 2 of x ended with exit code 1; its last lines:\n  [rank0]: ValueError: 3 is odd")
    findings, left = suite._settled([*CHECKS], CHECKS, tmp_path, 2, error, is_over=False)
    assert [(finding.name, finding.passed) for finding in findings] == [("one", True), ("two", False)]
    assert findings[1].said == "rank 0 of 2 of x ended with exit code 1: ValueError: 3 is odd"
    assert (findings[1].means, findings[1].remedy) == ("what it means", "what to do")
    assert left == ["three"]
    measured("two", 0, 7)
    measured("three", 0, 1)
    measured("three", 1, 1)
    findings, left = suite._settled([*CHECKS], CHECKS, tmp_path, 2, None, is_over=False)
    assert [finding.passed for finding in findings] == [True, False, True]
    assert not left


def test_the_job_after_a_rank_died_has_the_checks_that_were_left_and_no_more_time(monkeypatch):
    jobs = []

    def run_job(_module, job, options, _lease, *, on_progress, **_given):
        jobs.append((job.checks, job.ends_s))
        for name in job.checks:
            on_progress({"check": name})
            if name == "two":
                raise LaunchError("rank 1 of 2 of x was killed by SIGKILL; its last lines:\n  (it printed nothing)")
            for rank in range(options.processes):
                text = Measured(numbers={"n": 1}, wall_s=1.0).model_dump_json()
                (job.out / measured_file(name, rank)).write_text(text)

    said = []
    monkeypatch.setattr(suite, "all_checks", lambda toy: tuple(CHECKS.values()))
    monkeypatch.setattr(suite, "devices_for", lambda _run: ("cpu", ("cpu-0", "cpu-1")))
    monkeypatch.setattr(suite, "run_job", run_job)
    findings = list(suite.selftest(RunOptions(), say=said.append))
    assert {finding.name: finding.passed for finding in findings} == {"one": True, "two": False, "three": True}
    assert [names for names, _ in jobs] == [("one", "two", "three"), ("three",)]
    assert jobs[0][1] == jobs[1][1]
    assert said[:3] == ["… one", "✓ one  1.0 s", "… two"]


@pytest.mark.parametrize(
    "error",
    [
        MachineError("GPU-0aaa-0 has 2.0 of 85.5 GB free; process 77 (80.0 GB) holds the rest; wait for it"),
        LaunchError("torchrun for x ended with exit code 1; its last lines:\n  DistNetworkError: too many open files"),
    ],
)
def test_ranks_that_cannot_even_begin_fail_every_check_once_and_for_their_own_reason(error, monkeypatch):
    jobs = []

    def run_job(_module, job, *_given, **_named):
        jobs.append(job.checks)
        raise error

    monkeypatch.setattr(suite, "all_checks", lambda toy: tuple(CHECKS.values()))
    monkeypatch.setattr(suite, "devices_for", lambda _run: ("cpu", ("cpu-0", "cpu-1")))
    monkeypatch.setattr(suite, "run_job", run_job)
    findings = list(suite.selftest(RunOptions()))
    assert jobs == [("one", "two", "three")]
    assert [(finding.name, finding.passed) for finding in findings] == [(name, False) for name in CHECKS]
    for finding in findings:
        assert finding.said == suite.in_short(error)
        assert finding.means.startswith("nothing is known of it")
        assert "what to do" not in finding.remedy


@pytest.mark.parametrize(
    "error",
    [
        MachineError("this machine has not enough memory: CUDA out of memory; end what else runs here"),
        LaunchError("rank 1 of 2 of x was killed by SIGKILL"),
    ],
)
def test_a_machine_that_lacks_something_in_a_check_is_not_taken_for_what_the_check_would_find(error, tmp_path):
    (finding,), left = suite._settled([*CHECKS], CHECKS, tmp_path, 2, error, is_over=False)
    assert (finding.said, finding.means) == (str(error), "nothing is known of it")
    assert "what to do" not in finding.remedy
    assert left == ["two", "three"]


def test_where_the_ranks_were_is_said_of_the_check_in_which_the_time_was_over(tmp_path):
    lines = '\n  Current thread 0x00007f30 (most recent call first):\n    File "/pgolf/ranks/group.py", line 44 in sum'
    error = LaunchError("rank 0 of 2 of x ended with exit code 1; its last lines:" + lines)
    (finding,), left = suite._settled([*CHECKS], CHECKS, tmp_path, 2, error, is_over=True)
    assert finding.said.startswith("not finished: the time was over (rank 0 of 2 of x ended")
    assert 'it took too long at File "/pgolf/ranks/group.py", line 44' in finding.said
    assert left == ["two", "three"]


@pytest.mark.parametrize("seconds", ["0", "-5", "nan", "inf"])
def test_a_time_that_is_none_is_misuse(seconds, capsys):
    assert main(["selftest", "--device", "cpu", "--seconds", seconds]) == 2
    assert f"--seconds takes a number above 0, got {seconds}" in capsys.readouterr().err


def test_every_check_is_watched_while_it_runs_for_no_longer_than_is_left(monkeypatch, tmp_path):
    watched = []
    calls = SimpleNamespace(
        dump_traceback_later=lambda seconds, exit: watched.append((seconds, exit)),
        cancel_dump_traceback_later=lambda: watched.append("over"),
    )

    def measured(_place):
        watched.append("measured")
        return {"n": 2}

    checks = [replace(check(name), measure=measured, limit_s=limit_s) for name, limit_s in (("one", 5.0), ("two", 1e9))]
    monkeypatch.setattr(rank_program, "faulthandler", calls)
    monkeypatch.setattr(rank_program, "all_checks", lambda toy: checks)
    monkeypatch.setattr(rank_program, "print_progress", lambda _facts: None)
    job = SelftestJob(
        out=tmp_path, device="cpu", threads=1, checks=("one", "two"), toy=False, ends_s=time.monotonic() + 1000
    )
    rank_program.measure(job, Ranks(), torch.device("cpu"))
    assert watched[:3] == [(5.0, True), "measured", "over"]
    (seconds, exits), *rest = watched[3:]
    assert 900 < seconds <= 1000
    assert (exits, rest) == (True, ["measured", "over"])
    assert suite._measured(tmp_path, "two", 1)[0].numbers == {"n": 2}


def test_on_cuda_the_first_product_of_the_first_check_finds_the_workspace_of_deterministic_ones(monkeypatch, tmp_path):
    """torch keeps what it finds there at its first product: without, every deterministic check after it would fail."""
    seen = []

    def measured(_place):
        seen.append(os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
        return {"n": 2}

    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "as it was")
    monkeypatch.setattr(rank_program, "choose_kernels", lambda _device: None)
    monkeypatch.setattr(rank_program, "all_checks", lambda toy: [replace(check("one"), measure=measured)])
    monkeypatch.setattr(rank_program, "print_progress", lambda _facts: None)
    job = SelftestJob(
        out=tmp_path, device="cuda", threads=1, checks=("one",), toy=False, ends_s=time.monotonic() + 1000
    )
    threads = torch.get_num_threads()
    try:
        rank_program.measure(job, Ranks(), torch.device("cuda"))
    finally:
        torch.set_num_threads(threads)
    assert seen == [":4096:8"]


def test_a_check_that_hangs_is_said_with_the_line_at_which_it_hung():
    last_lines = """
      Timeout (0:00:05)!
      Thread 0x00007f30e37fe640 (most recent call first):
        File "/usr/lib/python3.11/threading.py", line 324 in wait
      Thread 0x00007f30f1bd2b80 (most recent call first):
        File "/usr/lib/python3.11/concurrent/futures/_base.py", line 451 in result
        File "/home/me/pgolf/ranks/group.py", line 44 in sum
        File "/home/me/pgolf/selftest/collectives_check.py", line 38 in errors
    """
    said = suite.in_short(LaunchError("rank 1 of 2 ended with exit code 1; its last lines:" + last_lines))
    where = '/home/me/pgolf/ranks/group.py", line 44 in sum'
    assert said == f'rank 1 of 2 ended with exit code 1: it took too long at File "{where}'


def test_an_error_that_is_not_finite_reaches_the_verdict_and_the_document():
    numbers = {"error": float("inf"), "other": [float("nan")]}
    text = Measured(numbers=numbers, wall_s=0.0).model_dump_json()
    kept = Measured.model_validate_json(text).numbers
    assert kept["error"] == float("inf")
    assert kept["other"][0] != kept["other"][0]
    finding = Finding(name="a", proves="b", passed=False, said="c", numbers=(kept,))
    written = json.dumps(selftest_command.document([finding], 1.0, toy=False), allow_nan=False)
    assert json.loads(written)["findings"][0]["numbers"] == [{"error": "inf", "other": ["nan"]}]


def test_ranks_that_cannot_share_a_step_are_refused_before_anything_starts(capsys):
    assert main(["selftest", "--device", "cpu", "--processes", "3"]) == 2
    assert "3 ranks cannot share 8 spans a step evenly; use 1, 2, 4, 8 ranks" in capsys.readouterr().err


FINDINGS = [
    Finding(name="collectives", proves="sums", passed=True, said="2 ranks, " + "and more numbers " * 6, wall_s=1.25),
    Finding(name="evaluation pr745", proves="600 s suffice", passed=None, said="skipped: no GPU"),
    Finding(
        name="step pr745",
        proves="600 s suffice",
        passed=False,
        said="ms " * 40,
        means="fewer steps " * 10,
        remedy="look " * 30,
    ),
]


@pytest.mark.parametrize("width", [60, 80, 110])
def test_the_table_fits_the_terminal_and_leaves_nothing_out(width):
    lines = list(table(FINDINGS, width))
    assert max(map(len, lines)) <= width
    shown = " ".join(" ".join(line.split()) for line in lines)
    for finding in FINDINGS:
        assert " ".join(finding.said.split()) in shown
    assert "proves 600 s suffice means fewer steps" in shown
    assert "→ look look" in shown


def test_without_a_terminal_every_finding_is_one_line():
    lines = list(table(FINDINGS[:2], None))
    assert len(lines) == 2
    assert lines[1] == "- evaluation pr745  skipped: no GPU"


def test_devices_that_torch_does_not_find_or_others_use_are_the_first_finding(monkeypatch, machine):
    machine([gpu(0, users=f"77:{512 << 20}"), gpu(1)])
    tried = []
    monkeypatch.setattr(selftest_command, "torch_build", lambda tries: tried.append(tries))
    (found,) = selftest_command._of_devices("auto")
    assert found.passed is False
    assert found.said == "torch cannot be imported; used by others: GPU 0: process 77 (512 MiB)"
    assert "wait for them, or end them" in found.remedy
    assert textwrap.shorten(found.means, 20)
    assert not list(selftest_command._of_devices("cpu"))
    machine(2)
    list(selftest_command._of_devices("auto"))
    assert tried == ["nothing", "gpus"]
