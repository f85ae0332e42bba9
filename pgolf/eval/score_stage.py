"""Stage `score`: loss and entropy of every validation target under the packed network, by sliding windows.

With test-time training (`pgolf.eval.ttt`) the network also learns the text: after scoring it, or before (marked as not
causal).
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pgolf.eval import __main__ as rank_program
from pgolf.eval.config import ScoreConfig
from pgolf.eval.in_process import device_for, report_progress, score_in_process, write_outputs
from pgolf.eval.pieces import PIECES_FILE, merged_pieces
from pgolf.eval.score_job import LEDGER_FILE, Job, Ledger
from pgolf.eval.scoring import cpu_threads, open_text
from pgolf.machine.hardware import scoring_ranks
from pgolf.ranks.devices import devices_for
from pgolf.ranks.run_job import run_job
from pgolf.run_options import Lease, Made, RunOptions

LOG_FILE = "score.log"


def devices(config: ScoreConfig, run: RunOptions) -> tuple[tuple[str, ...], int]:
    """Names of the devices here that ranks can use, and how many this run needs: none if it runs in-process on CPU."""
    run = _placed(config, run)
    if not _on_ranks(run):
        return (), 0
    _kind, names = devices_for(run)
    return names, min(run.processes, len(names))


def make(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Score the validation tokens of `data` with the packed network of `model`.

    Writes trace.arrow, with log-probabilities of the hints if there is an input `hints`, and batches.arrow if batch
    means are configured. Runs in this process on a CPU, unless `run.processes` asks for ranks; on CUDA, as one rank per
    GPU under a lease. The bytes do not depend on the number of ranks (on CUDA: without test-time training).
    Raises ConfigError if the precision needs a missing device or test-time training would freeze every block, DataError
    or a subclass for data shorter than one window or of another vocabulary, ArtifactError for a packed file that cannot
    be decoded, NonFiniteLoss if test-time training diverges, LaunchError if a rank dies or times out.
    """
    run = _placed(config, run)
    return (_score_on_ranks if _on_ranks(run) else score_in_process)(config, inputs, out, run)


def _placed(config: ScoreConfig, run: RunOptions) -> RunOptions:
    """The options with device and number of ranks resolved."""
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
        on_progress=lambda progress: report_progress(run, progress["done"], progress["total"], progress["facts"]),
        is_last=lambda progress: bool(progress["done"] == progress["total"]),
    )
    ran_s = time.perf_counter()
    facts = write_outputs(config, inputs, text, merged_pieces(out, run.processes), out)
    ledger = Ledger.model_validate_json((out / LEDGER_FILE).read_bytes())
    for path in (out / LEDGER_FILE, *(out / PIECES_FILE.format(rank=rank) for rank in range(run.processes))):
        path.unlink()
    phases_s = {"check": checked_s - began_s, **ledger.phases_s}
    phases_s["launch"] = ran_s - checked_s - sum(ledger.phases_s.values())
    phases_s["join"] = time.perf_counter() - ran_s
    return Made(phases_s=phases_s, facts={**facts, "device": device, "processes": run.processes, **ledger.facts})
