"""The score stage: loss and entropy of every validation target under the packed network, by sliding windows.

The network may learn the text on the way (`pgolf.eval.ttt`): after it has scored it, or, marked as not causal, before.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pgolf.eval import __main__ as rank_program
from pgolf.eval.config import ScoreConfig
from pgolf.eval.in_process import device_for, report_progress, score_in_process, write_outputs
from pgolf.eval.pieces import PIECES_FILE, joined_pieces
from pgolf.eval.score_job import LEDGER_FILE, Job, Ledger
from pgolf.eval.scoring import cpu_threads, open_text
from pgolf.machine.hardware import scoring_ranks
from pgolf.ranks.devices import devices_for
from pgolf.ranks.run_job import run_job
from pgolf.run import Lease, Made, RunOptions

LOG_FILE = "score.log"


def devices(config: ScoreConfig, run: RunOptions) -> tuple[tuple[str, ...], int]:
    """Names of the devices that ranks can take here, and how many of them this scoring needs: on a CPU alone, none."""
    run = _placed(config, run)
    if not _on_ranks(run):
        return (), 0
    _kind, names = devices_for(run)
    return names, min(run.processes, len(names))


def make(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Score the validation tokens of `data` with the packed network of `model`.

    Writes trace.arrow, with the log-probabilities of the hints where there is an input `hints`, and batches.arrow where
    the configuration asks for batch means. On a CPU in this process, unless `run.processes` asks for ranks; on CUDA as
    one rank per GPU under a lease. The bytes do not depend on the number of ranks (on CUDA: where nothing is learned).
    Raises ConfigError where the precision asks for a device that is not there or test-time training would freeze every
    block, DataError and its kin for data that is shorter than one window or of another vocabulary, ArtifactError for a
    packed file that cannot be decoded, NonFiniteLoss where test-time training diverges, LaunchError for a rank that
    died or ran out of time.
    """
    run = _placed(config, run)
    return (_score_on_ranks if _on_ranks(run) else score_in_process)(config, inputs, out, run)


def _placed(config: ScoreConfig, run: RunOptions) -> RunOptions:
    """The options with the device and the number of ranks that it comes to."""
    device = device_for(config, run)
    return replace(run, device=device, processes=scoring_ranks(run, on_gpus=device == "cuda"))


def _on_ranks(run: RunOptions) -> bool:
    return run.device == "cuda" or run.processes > 1


def _score_on_ranks(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    began_s = time.perf_counter()
    device, names = devices_for(run)
    text = open_text(config, inputs["data"])
    threads = cpu_threads(run.threads, run.processes) if device == "cpu" else 1
    job = Job(config=config, inputs=dict(inputs), out=out, device=device, threads=threads)
    checked_s = time.perf_counter()
    run_job(
        rank_program.__name__,
        job,
        run,
        run.lease or Lease(names[: run.processes]),
        log_path=out / LOG_FILE,
        on_progress=lambda told: report_progress(run, told["done"], told["total"], told["facts"]),
        is_last=lambda told: bool(told["done"] == told["total"]),
    )
    ran_s = time.perf_counter()
    facts = write_outputs(config, inputs, text, joined_pieces(out, run.processes), out)
    ledger = Ledger.model_validate_json((out / LEDGER_FILE).read_bytes())
    for path in (out / LEDGER_FILE, *(out / PIECES_FILE.format(rank=rank) for rank in range(run.processes))):
        path.unlink()
    phases_s = {"check": checked_s - began_s, **ledger.phases_s}
    phases_s["launch"] = ran_s - checked_s - sum(ledger.phases_s.values())
    phases_s["join"] = time.perf_counter() - ran_s
    return Made(phases_s=phases_s, facts={**facts, "device": device, "processes": run.processes, **ledger.facts})
